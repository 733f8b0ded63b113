"""Source `delta`: versions, partitions, what cannot be read, and tables on other machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.place import Place

deltalake = pytest.importorskip("deltalake", reason="the extra `delta` is not installed")


def source(folder: Path, **options: Any) -> Source:
    options = options if options.keys() & {"path", "url"} else {"path": "table", **options}
    return REGISTRIES["source"].create(Component("delta", options), Place(folder, landing=folder / "landing"))


def fault(folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        source(folder, **options).scan().collect()
    return str(caught.value)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Path]:
    """Three versions: two rows in two partitions; a third row and a new column; the first row gone."""
    path = tmp_path / "table"
    deltalake.write_deltalake(path, pl.DataFrame({"a": [1, 2], "p": ["x", "y z"]}), partition_by=["p"])
    deltalake.write_deltalake(path, pl.DataFrame({"a": [3], "p": ["x"], "new": [0.5]}), mode="append", schema_mode="merge")
    deltalake.DeltaTable(path).delete("a = 1")
    yield path


def rows(made: Source) -> list[tuple[Any, ...]]:
    return sorted(made.scan().collect().rows())


def test_every_version_can_be_read(tmp_path: Path, table: Path) -> None:
    assert rows(source(tmp_path, version=0)) == [(1, "x"), (2, "y z")]
    assert rows(source(tmp_path, version=1)) == [(1, "x", None), (2, "y z", None), (3, "x", 0.5)]
    newest = source(tmp_path)
    assert rows(newest) == [(2, "y z", None), (3, "x", 0.5)]
    assert newest.notes[0].startswith("table: Delta table, version 2 of 2")
    assert "found no version 7, there are 0 to 2" in fault(tmp_path, version=7)


def test_a_moment_means_the_version_of_that_time(tmp_path: Path, table: Path) -> None:
    for version, moment in enumerate(("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")):
        _date(table, version, moment)
    assert source(tmp_path, timestamp="2026-02-15").scan().collect().height == 3
    assert source(tmp_path, timestamp="2026-02-01").scan().collect().height == 3
    assert source(tmp_path, timestamp="2030-01-01").scan().collect().height == 2
    assert "the oldest version in the log (0) is of 2026-01-01 00:00 UTC" in fault(tmp_path, timestamp="2025-12-31")
    assert 'found the timestamp "yesterday"' in fault(tmp_path, timestamp="yesterday")


def _date(table: Path, version: int, moment: str) -> None:
    """Write another time into the commit of a version."""
    from datetime import datetime

    path = table / "_delta_log" / f"{version:020d}.json"
    milliseconds = int(datetime.fromisoformat(moment).timestamp() * 1000)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["timestamp"] = milliseconds
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_fingerprint_is_of_a_version_and_its_bytes(tmp_path: Path, table: Path) -> None:
    prints = [source(tmp_path, version=version).fingerprint() for version in range(3)]
    assert len(set(prints)) == 3
    assert source(tmp_path, version=1).fingerprint() == prints[1]
    assert source(tmp_path).fingerprint() == prints[2]
    part = next(table.glob("p=*/*.parquet"))
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert prints[0] != source(tmp_path, version=0).fingerprint() or prints[1] != source(tmp_path, version=1).fingerprint()


def test_a_run_stays_at_the_version_that_it_saw_first(tmp_path: Path, table: Path) -> None:
    place = Place(tmp_path)
    component = Component("delta", {"path": "table"})
    first = REGISTRIES["source"].create(component, place)
    seen = first.fingerprint()
    deltalake.write_deltalake(table, pl.DataFrame({"a": [9], "p": ["x"], "new": [0.5]}), mode="append")
    again = REGISTRIES["source"].create(component, place)
    assert again.fingerprint() == seen
    assert len(rows(again)) == 2
    assert len(rows(source(tmp_path))) == 3


def test_columns_are_chosen_and_misspelt_ones_named(tmp_path: Path, table: Path) -> None:
    assert source(tmp_path, columns=["p", "a"]).scan().collect().columns == ["p", "a"]
    assert 'columns names "nwe", found a, p, new. Did you mean "new"?' in fault(tmp_path, columns=["nwe"])


def test_partitions_keep_their_types_and_empty_cells(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path / "table", pl.DataFrame({"a": [1, 2], "year": [2024, None]}), partition_by=["year"])
    found = source(tmp_path).scan().collect()
    assert found.schema == {"a": pl.Int64, "year": pl.Int64}
    assert sorted(found.rows(), key=str) == [(1, 2024), (2, None)]


def _feature(table: Path, **more: Any) -> None:
    """A further commit that says what a reader must know."""
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": more["features"],
        "writerFeatures": more["features"],
    }
    lines = [{"protocol": protocol}, *more.get("lines", ())]
    (table / "_delta_log" / f"{3:020d}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_features_that_cannot_be_read_are_named(tmp_path: Path, table: Path) -> None:
    _feature(table, features=["timestampNtz"])
    assert source(tmp_path).scan().collect().height == 2
    _feature(table, features=["someNewFeature"])
    assert "someNewFeature" in fault(tmp_path)


def test_deletion_vectors_are_refused_where_they_are(tmp_path: Path) -> None:
    table = tmp_path / "table"
    for _ in range(3):
        deltalake.write_deltalake(table, pl.DataFrame({"a": range(40)}), mode="overwrite")
    _feature(table, features=["deletionVectors"])
    assert source(tmp_path).scan().collect().height == 40
    log = table / "_delta_log" / f"{2:020d}.json"
    add = next(json.loads(line)["add"] for line in log.read_text().splitlines() if '"add"' in line)
    # The vector of the protocol's own example: rows 3, 4, 7, 11, 18 and 29.
    stored = {"storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"}
    vector = {**stored, "sizeInBytes": 40, "cardinality": 6}
    _feature(table, features=["deletionVectors"], lines=[{"add": {**add, "deletionVector": vector}}])
    assert "version 3 has deletion vectors, which are not supported" in fault(tmp_path)


def test_what_is_no_table_and_what_lacks_a_file_is_told(tmp_path: Path, table: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "found no Delta table" in fault(tmp_path, path="empty")
    assert "put it at" in fault(tmp_path, path="nowhere")
    (table / "_delta_log" / f"{1:020d}.json").write_text("{broken")
    assert "table: " in fault(tmp_path)


def test_a_vacuumed_version_is_told(tmp_path: Path, table: Path) -> None:
    for part in table.glob("p=x/*.parquet"):
        part.unlink()
    assert "which is not there; `vacuum` may have removed it" in fault(tmp_path, version=0)


def test_a_log_that_names_files_elsewhere_is_refused(tmp_path: Path, table: Path) -> None:
    log = table / "_delta_log" / f"{1:020d}.json"
    text = log.read_text()
    path = next(json.loads(line)["add"]["path"] for line in text.splitlines() if '"add"' in line)
    log.write_text(text.replace(path, "p=x/../../../secret.parquet"))
    assert "which is not in the table" in fault(tmp_path, version=1)


def test_path_or_url_and_version_or_timestamp(tmp_path: Path, table: Path) -> None:
    assert "both or none of path and url" in fault(tmp_path, path="table", url="s3://b/t")
    assert "version beside timestamp" in fault(tmp_path, version=1, timestamp="2026-01-01")


def test_a_table_on_another_machine_is_fetched_and_read(tmp_path: Path, table: Path) -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    for path in table.rglob("*"):
        if path.is_file():
            store.pipe(f"/lake/table/{path.relative_to(table)}", path.read_bytes())
    for version in range(3):
        far, near = source(tmp_path, url="memory://lake/table", version=version), source(tmp_path, version=version)
        assert rows(far) == rows(near)
        assert far.fingerprint() == near.fingerprint()
    assert "found no such file or folder" in fault(tmp_path, url="memory://lake/nowhere")
