"""A source that is not what it was in the last run, or while it is read, is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.core import disk
from lode.core.errors import DataError
from lode.core.types import Component
from lode.data.access import watch
from lode.data.place import Place
from lode.pipeline import run as pipeline
from lode.pipeline import work
from lode.pipeline.run import Run

TABLE = "age,sex,left\n" + "".join(f"{20 + i % 40},{'mf'[i % 2]},{'yes' if i % 3 else 'no'}\n" for i in range(200))


def cards(folder: Path, **data: Any) -> Path:
    if not (folder / "cards.csv").exists():
        (folder / "cards.csv").write_text(TABLE)
    spec = {
        "name": "cards",
        "data": {"source": {"type": "csv", "path": "cards.csv"}, **data},
        "outputs": {"left": {"type": "binary", "positive": "yes"}},
    }
    (folder / "lode.yaml").write_text(yaml.safe_dump(spec))
    return folder / "lode.yaml"


def data_of(path: Path) -> tuple[Run, list[str]]:
    said: list[str] = []
    return pipeline.run(path, until="data", say=said.append), [line for line in said if " changed since " in line]


def test_a_file_that_changed_since_the_last_run_is_named_with_hashes_and_sizes(tmp_path: Path) -> None:
    path = cards(tmp_path)
    first, said = data_of(path)
    assert not said and not first.changed
    assert not data_of(path)[1], "nothing changed"
    (tmp_path / "cards.csv").write_text(TABLE + "33,f,no\n" * 100)
    second, said = data_of(path)
    before, now = (done.manifests["data"].result["raw"][0]["sha256"][:8] for done in (first, second))
    assert said == [
        f"data: cards.csv changed since the last run (sha256 {before}.. -> {now}.., 1.7 kB -> 2.5 kB): the data stage runs again"
    ]
    assert second.to_json()["changed_sources"] == second.changed
    (tmp_path / "cards.csv").write_text(TABLE)
    back, said = data_of(path)
    assert back.manifests["data"].cached
    assert said[0].endswith("these bytes were read before, that result is used")


def joined(folder: Path) -> None:
    (folder / "prices.csv").write_text("sex,price\nm,3\nf,4\n")
    (folder / "towns.csv").write_text("price,town\n3,Rome\n4,Oslo\n")
    inner = {
        "type": "join",
        "left": {"type": "csv", "path": "prices.csv"},
        "right": {"type": "csv", "path": "towns.csv"},
        "on": "price",
    }
    cards(folder, source={"type": "join", "left": {"type": "csv", "path": "cards.csv"}, "right": inner, "on": "sex"})


def test_of_a_join_the_side_that_changed_is_named(tmp_path: Path) -> None:
    path = cards(tmp_path)
    joined(tmp_path)
    assert not data_of(path)[1] and not data_of(path)[1]
    (tmp_path / "towns.csv").write_text("price,town\n3,Rome\n4,Lima\n")
    said = data_of(path)[1]
    assert len(said) == 1
    assert re.match(
        r"data: join changed since the last run \(right right, towns\.csv: sha256 \w{8}\.\. -> \w{8}\.\.\): the data stage runs again$",
        said[0],
    )
    (tmp_path / "prices.csv").write_text("sex,price\nm,4\nf,3\n")
    (tmp_path / "cards.csv").write_text(TABLE + "33,f,no\n" * 100)
    said = data_of(path)[1]
    assert re.search(r"\(left, cards\.csv: sha256 \S+ -> \w+\.\., 1\.7 kB -> 2\.5 kB; right left, prices\.csv: sha256", said[0])
    assert "towns.csv" not in said[0]


def test_of_a_join_the_file_that_grows_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cards(tmp_path)
    joined(tmp_path)

    def read_while_it_grows(*positional: Any, **named: Any) -> Any:
        (tmp_path / "prices.csv").write_text("sex,price\nm,3\nf,4\nx,5\n")
        raise DataError("broken")

    monkeypatch.setattr(work, "ingest", read_while_it_grows)
    with pytest.raises(DataError, match=r"prices\.csv of join changed while it was read \(18 B -> 22 B\)"):
        pipeline.run(path, until="data")


def test_another_source_or_another_file_is_no_change(tmp_path: Path) -> None:
    data_of(cards(tmp_path))
    (tmp_path / "other.csv").write_text(TABLE + "33,f,no\n")
    assert not data_of(cards(tmp_path, source={"type": "csv", "path": "other.csv"}))[1]
    (tmp_path / "again").mkdir()
    assert not data_of(cards(tmp_path / "again"))[1]


def test_a_file_that_grows_while_it_is_read_is_an_error_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cards(tmp_path)
    read = work.ingest

    def read_while_it_grows(*positional: Any, **named: Any) -> Any:
        with (tmp_path / "cards.csv").open("a") as file:
            file.write("33,f,no\n" * 1000)
        return read(*positional, **named)

    monkeypatch.setattr(work, "ingest", read_while_it_grows)
    with pytest.raises(
        DataError, match=r"data \(line 1\): cards\.csv changed while it was read \(1\.7 kB -> 9\.7 kB\)\. Nothing was kept"
    ):
        pipeline.run(path, until="data")
    assert not list((tmp_path / "runs" / "data").glob("*/manifest.json"))
    monkeypatch.undo()
    assert not data_of(path)[0].manifests["data"].cached


def test_a_file_that_is_cut_while_it_is_read_is_told_before_what_it_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cards(tmp_path)

    def fail(*positional: Any, **named: Any) -> Any:
        (tmp_path / "cards.csv").write_text("age,sex,left\n20,m")
        raise DataError("line 2: found 2 cells")

    monkeypatch.setattr(work, "ingest", fail)
    with pytest.raises(DataError, match="changed while it was read"):
        pipeline.run(path, until="data")


def test_stamps_see_files_in_folders_and_survive_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    (tmp_path / "pictures" / "cats" / "1.png").write_bytes(b"one")
    (tmp_path / "pictures" / "cats" / "loop").symlink_to(tmp_path / "pictures")
    before = watch.stamp(tmp_path / "pictures")
    assert before == watch.stamp(tmp_path / "pictures")
    (tmp_path / "pictures" / "cats" / "2.png").write_bytes(b"two")
    assert watch.stamp(tmp_path / "pictures") != before
    assert watch.stamp(tmp_path / "nowhere") is None


def test_a_source_is_called_by_its_path_or_its_address_and_table(tmp_path: Path) -> None:
    assert watch.label(Component("csv", {"path": "a/b.csv"})) == "a/b.csv"
    assert watch.label(Component("sql", {"url": "mysql://h/db", "table": "t"})) == "mysql://h/db t"
    assert watch.label(Component("other", {})) == "other"
    (tmp_path / "x").write_text("1")
    images = Component("images", {"path": "x", "labels": "nowhere"})
    assert watch.files_of(images, Place(tmp_path)) == [tmp_path / "x"]


@pytest.mark.parametrize(("num_bytes", "text"), [(999, "999 B"), (2_100_000, "2.1 MB"), (3_000_000_000_000, "3.0 TB")])
def test_sizes_are_for_readers(num_bytes: int, text: str) -> None:
    assert disk.size_text(num_bytes) == text
