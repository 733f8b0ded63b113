"""Packed snapshots: the footer's borders, sharing, bitwise unpacking, and that nothing is lost whatever step fails."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import ArtifactError
from lode.data import snapshot
from lode.data.storage import blocks
from lode.data.storage.parquet_footer import chunk_borders

ROWS = 6_000


def rows(seed: int = 0) -> pl.DataFrame:
    """Five columns of numbers and one of words, of which `seed` changes the first only."""
    fixed = np.random.default_rng(1)
    columns = {f"x{place}": fixed.normal(size=ROWS) for place in range(5)}
    columns["x0"] = np.random.default_rng([2, seed]).normal(size=ROWS)
    return pl.DataFrame({"__row__": np.arange(ROWS, dtype=np.uint64), **columns, "w": [f"w{i % 7}" for i in range(ROWS)]})


def make_snapshot(runs: Path, key: str, seed: int) -> Path:
    folder = runs / "data" / key
    folder.mkdir(parents=True)
    for part in snapshot.FILES:
        snapshot.write_rows(rows(seed).lazy(), folder / f"{part}.parquet")
    return folder


def pack_all(folder: Path) -> None:
    for part in snapshot.FILES:
        if (folder / f"{part}.parquet").is_file():
            blocks.pack(folder / f"{part}.parquet", snapshot.store_of(folder))


def test_borders_are_those_of_the_column_chunks(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows().write_parquet(path, row_group_size=2_500, compression="lz4")
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    meta = pq.ParquetFile(path).metadata
    expected = {0, path.stat().st_size}
    for group in range(meta.num_row_groups):
        for column in range(meta.num_columns):
            chunk = meta.row_group(group).column(column)
            begin = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
            expected |= {begin, begin + chunk.total_compressed_size}
    with path.open("rb") as file:
        assert chunk_borders(file, path.stat().st_size) == sorted(expected)
    assert meta.num_row_groups == 3 and len(expected) > 20


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"x" * 50, b"PAR1" + b"\xff" * 40 + b"\x28\0\0\0PAR1", b"PAR1\x19\xfc\xff\xff\xff\x0f\x06\0\0\0PAR1"]
)
def test_a_file_without_a_footer_is_one_block(content: bytes) -> None:
    assert chunk_borders(io.BytesIO(content), len(content)) == sorted({0, len(content)})


def test_unchanged_columns_are_shared_and_all_comes_back_bitwise(tmp_path: Path) -> None:
    folders = [make_snapshot(tmp_path, f"{seed:016x}", seed) for seed in range(3)]
    before = [{part: (folder / f"{part}.parquet").read_bytes() for part in snapshot.FILES} for folder in folders]
    hashes = [snapshot.content_hash(folder) for folder in folders]
    for folder in folders:
        pack_all(folder)
    store = tmp_path / "blocks"
    one = sum(len(content) for content in before[0].values()) // len(snapshot.FILES)
    kept = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    # Three versions of the same four tables: the columns but one lie once.
    assert kept < 2 * one
    assert [snapshot.content_hash(folder) for folder in folders] == hashes
    for folder, contents in zip(folders, before, strict=True):
        for part, content in contents.items():
            snapshot.read(folder, part)
            assert (folder / f"{part}.parquet").read_bytes() == content
    assert blocks.unnamed(store, set()) and not list(tmp_path.rglob("*.blocks"))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_block_is_told_and_never_read(tmp_path: Path, damage: str) -> None:
    folder = make_snapshot(tmp_path, "0" * 16, 0)
    pack_all(folder)
    block = max((path for path in (tmp_path / "blocks").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = block.read_bytes()
    if damage == "gone":
        block.unlink()
    else:
        block.write_bytes(content[:-1] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ArtifactError, match=block.name):
        for part in snapshot.FILES:
            snapshot.read(folder, part)
    assert not list(folder.glob("*.tmp"))


def test_a_damaged_block_is_written_again_when_a_file_is_packed(tmp_path: Path) -> None:
    folder, other = (make_snapshot(tmp_path, str(place) * 16, 0) for place in range(2))
    pack_all(folder)
    for block in (tmp_path / "blocks").rglob("*"):
        if block.is_file():
            block.write_bytes(b"\0" * block.stat().st_size)
    pack_all(other)
    assert snapshot.read(folder, "train").equals(rows())


def test_a_damaged_list_frees_nothing(tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path, "0" * 16, 0)
    pack_all(folder)
    (folder / "train.parquet.blocks").write_text('{"format": 1}')
    with pytest.raises(ArtifactError, match="no list of blocks"):
        blocks.named_by(folder.glob("*.blocks"))


class _Killed(BaseException):
    """As if the process ended here."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[int]]]:
    """Ends the work before or after the n-th call that touches the disk."""
    real = {"replace": os.replace, "fsync": os.fsync, "unlink": Path.unlink, "open": Path.open}
    state: dict[str, Any] = {"at": None, "calls": [0]}

    def guarded(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            state["calls"][0] += 1
            if state["at"] is not None and state["calls"][0] > state["at"]:
                raise _Killed  # nothing that comes later happens either, `finally` blocks included
            return real[name](*args, **options)

        return call

    monkeypatch.setattr(os, "replace", guarded("replace"))
    monkeypatch.setattr(os, "fsync", guarded("fsync"))
    monkeypatch.setattr(Path, "unlink", guarded("unlink"))
    monkeypatch.setattr(Path, "open", guarded("open"))

    def arm(at: int | None) -> list[int]:
        state["at"], state["calls"] = at, [0]
        return state["calls"]  # type: ignore[no-any-return]

    yield arm
    arm(None)


@pytest.mark.parametrize("work", ["pack", "unpack"])
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, killed_at: Callable[[int | None], list[int]], work: str) -> None:
    folder = make_snapshot(tmp_path, "0" * 16, 0)
    # A few blocks are enough to meet every kind of step.
    wanted = (folder / "train.parquet").read_bytes()
    store = snapshot.store_of(folder)

    def step() -> None:
        if work == "pack":
            blocks.pack(folder / "train.parquet", store)
        else:
            snapshot.scan(folder, "train")

    def reset() -> None:
        (folder / "train.parquet").write_bytes(wanted)
        (folder / "train.parquet.blocks").unlink(missing_ok=True)
        shutil.rmtree(store, ignore_errors=True)
        if work == "unpack":
            blocks.pack(folder / "train.parquet", store)

    reset()
    calls = killed_at(None)
    step()
    total = calls[0]
    assert total > 5
    for at in range(total):
        killed_at(None)
        reset()
        killed_at(at)
        with pytest.raises(_Killed):
            step()
        killed_at(None)
        assert b"".join(snapshot._pieces(folder / "train.parquet")) == wanted, f"after step {at}"
        if (folder / "train.parquet").is_file():
            step()  # the same work goes on
        assert b"".join(snapshot._pieces(folder / "train.parquet")) == wanted
