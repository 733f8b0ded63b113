"""What lands is what an undisturbed read gives, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.access import landing
from lode.data.access.landing import Batch, ConnectionLostError, Feed, land
from lode.data.place import Place

NUM_BATCHES = 5


class Counter:
    """A server that counts from 0 in batches of two rows, and may go away."""

    def __init__(self, *, lost_after: int = NUM_BATCHES + 1, resumable: bool = True, step: int = 1) -> None:
        self.lost_after, self.resumable, self.step = lost_after, resumable, step
        self.asked: list[Any] = []

    def read(self, position: Any) -> Iterator[Batch]:
        self.asked.append(position)
        for index in range(position or 0, NUM_BATCHES):
            if index == self.lost_after:
                raise ConnectionLostError("server: gone.")
            numbers = [index * 2 * self.step, (index * 2 + 1) * self.step]
            yield Batch(pl.DataFrame({"n": numbers}), index + 1 if self.resumable else None)

    def feed(self, **options: Any) -> Feed:
        return Feed("server numbers", {"table": "numbers"}, self.read, **options)


def place(folder: Path) -> Place:
    return Place(folder, landing=folder / "landing")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def only(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in parts.items() if name.endswith(".parquet")}


@pytest.mark.parametrize("lost_after", range(NUM_BATCHES))
def test_a_read_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(lost_after: int, tmp_path: Path) -> None:
    whole = land(place(tmp_path / "whole"), Counter().feed())
    server = Counter(lost_after=lost_after)
    with pytest.raises(DataError, match="gone") as caught:
        land(place(tmp_path / "cut"), server.feed())
    if lost_after:
        assert f"{2 * lost_after} rows are kept" in str(caught.value)
    again = Counter()
    found = land(place(tmp_path / "cut"), again.feed())
    assert again.asked == [lost_after or None]
    assert found.sha256 == whole.sha256
    assert found.scan().collect()["n"].to_list() == list(range(2 * NUM_BATCHES))
    assert only(listing(whole.folder)) == only(listing(found.folder))


def test_without_a_position_a_read_begins_again(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"reads again from the start\. Name a column"):
        land(place(tmp_path), Counter(lost_after=3, resumable=False).feed(advice="Name a column."))
    again = Counter(resumable=False)
    assert land(place(tmp_path), again.feed()).num_rows == 2 * NUM_BATCHES
    assert again.asked == [None]


@pytest.mark.parametrize("damage", ["stray", "cut", "gone", "state"])
def test_what_a_killed_writer_leaves_is_never_taken_for_a_part(damage: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        land(place(tmp_path), Counter(lost_after=3).feed())
    [incoming] = (tmp_path / "landing").glob("*.incoming")
    if damage == "stray":
        (incoming / "000003.parquet").write_bytes(b"half of a part")
        (incoming / ".000003.parquet.tmp").write_bytes(b"half")
    elif damage == "cut":
        os.truncate(incoming / "000001.parquet", 10)
    elif damage == "gone":
        (incoming / "000001.parquet").unlink()
    else:
        (incoming / "state.json").write_text('{"pos')
    found = land(place(tmp_path), Counter().feed())
    assert found.sha256 == land(place(tmp_path / "whole"), Counter().feed()).sha256
    assert sorted(path.name for path in found.folder.iterdir()) == [
        *(f"00000{i}.parquet" for i in range(NUM_BATCHES)),
        "landed.json",
    ]


@pytest.mark.parametrize("number", range(1, 16))
def test_a_full_disk_names_the_space_and_leaves_nothing_half_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    flush = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(landing.os, "fsync", full)
    with pytest.raises(DataError, match=r"full after row .* The next part needs \d.*B, .* are free\. Free some"):
        land(place(tmp_path), Counter().feed())
    monkeypatch.undo()
    assert not [name for name in listing(tmp_path) if name.endswith(".tmp")]
    assert land(place(tmp_path), Counter().feed()).sha256 == land(place(tmp_path / "whole"), Counter().feed()).sha256


def test_the_old_rows_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    old = land(place(tmp_path), Counter().feed())
    before = listing(old.folder)
    with pytest.raises(DataError):
        land(place(tmp_path), Counter(step=7, lost_after=2).feed())
    assert listing(old.folder) == before
    new = land(place(tmp_path), Counter(step=7).feed())
    assert new.sha256 != old.sha256
    assert listing(old.folder) == before


def test_a_version_that_stays_saves_the_reading_and_another_one_reads_from_the_start(tmp_path: Path) -> None:
    server = Counter()
    first = land(place(tmp_path), server.feed(version=lambda: "1"))
    assert land(place(tmp_path), server.feed(version=lambda: "1")) == first
    assert server.asked == [None]
    with pytest.raises(DataError):
        land(place(tmp_path), Counter(lost_after=2).feed(version=lambda: "2"))
    server = Counter()
    land(place(tmp_path), server.feed(version=lambda: "3"))
    assert server.asked == [None], "parts of version 2 are none of version 3"


def test_keep_reads_once_and_a_place_asks_once(tmp_path: Path) -> None:
    server, here = Counter(), place(tmp_path)
    land(here, server.feed())
    land(here, server.feed())
    assert len(server.asked) == 1
    land(place(tmp_path), server.feed(keep=True))
    assert len(server.asked) == 1
    land(place(tmp_path), server.feed())
    assert len(server.asked) == 2, "without a version only reading tells whether rows changed"


def test_parts_of_other_types_and_columns_end_in_one_table(tmp_path: Path) -> None:
    frames = [
        pl.DataFrame({"a": [1], "b": [None]}),
        pl.DataFrame({"a": [2.5], "b": ["x"], "c": [True]}),
        pl.DataFrame({"a": [3], "b": [7]}),
    ]

    def read(position: Any) -> Iterator[Batch]:
        return (Batch(frame, index) for index, frame in enumerate(frames))

    found = land(place(tmp_path), Feed("server", {"x": 1}, read))
    expected = pl.DataFrame({"a": [1.0, 2.5, 3.0], "b": [None, "x", "7"], "c": [None, True, None]})
    assert found.scan().collect().equals(expected, null_equal=True)
    assert found.notes == ('server: column "b" mixes kinds of cells and is read as text.',)


def test_no_rows_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="server: gives no rows"):
        land(place(tmp_path), Feed("server", {}, lambda position: iter(())))
    assert not listing(tmp_path)


def test_rows_of_a_read_that_belongs_to_no_run_still_land(tmp_path: Path) -> None:
    assert land(Place(tmp_path), Counter().feed()).num_rows == 2 * NUM_BATCHES
    assert not listing(tmp_path)


def test_the_progress_counts_rows_from_where_the_read_goes_on(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        land(place(tmp_path), Counter(lost_after=2).feed())
    told: list[int] = []
    land(
        Place(tmp_path, landing=tmp_path / "landing", progress=lambda what, done, total, figures: told.append(done)),
        Counter().feed(),
    )
    assert told == [4, 6, 8, 10]


def test_the_state_of_a_read_is_json_with_its_position(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        land(place(tmp_path), Counter(lost_after=2).feed())
    [state] = (tmp_path / "landing").glob("*.incoming/state.json")
    assert json.loads(state.read_text())["position"] == 2
