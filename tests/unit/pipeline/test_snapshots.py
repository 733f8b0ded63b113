"""Snapshots as a runs folder keeps them: listed, compared, exported, packed, freed, and traced back to raw rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import ArtifactError, DataError
from lode.data import snapshot
from lode.data.changes import LOG_SCHEMA
from lode.data.split import PARTS
from lode.data.storage import blocks
from lode.pipeline import gc as collector
from lode.pipeline.artifact import artifact_folder
from lode.pipeline.catalog import Catalog
from lode.pipeline.gc import free, garbage
from lode.pipeline.lineage import row_lineage
from lode.pipeline.manifest import perform, read_manifest
from lode.pipeline.snapshot_diff import diff
from lode.pipeline.snapshots import export, find, list_snapshots, opened
from lode.pipeline.state import write_json

ROWS = 6_000


def table(version: int = 0) -> pl.DataFrame:
    """Rows of which `version` changes one column, and which part they are in by their place."""
    fixed = np.random.default_rng(5)
    columns = {f"x{place}": fixed.normal(size=ROWS) for place in range(4)} | {"y": fixed.integers(0, 2, ROWS).astype(str)}
    columns["x0"] = columns["x0"] + version
    return pl.DataFrame({"__row__": np.arange(ROWS, dtype=np.uint64), **columns})


def put(runs: Path, name: str, version: int, frames: Mapping[str, pl.DataFrame] | None = None, started: str = "") -> Path:
    """A finished snapshot of a run of this name."""
    whole = table(version)
    parts = frames or {"train": whole[:4_000], "validation": whole[4_000:5_000], "test": whole[5_000:]}

    def work(folder: Path) -> Mapping[str, Any]:
        for part in PARTS:
            snapshot.write_rows(parts[part].lazy(), folder / f"{part}.parquet")
        lines = pl.DataFrame(
            [(3, "x1", "a", "b", "types", "types", None), (3, None, None, None, "rules", "x1 > 3", None)], LOG_SCHEMA, orient="row"
        )
        snapshot.write_rows(lines.lazy(), folder / "changes.parquet")
        columns = {column: {"role": "input", "type": "number"} for column in parts["train"].columns[1:]}
        write_json(folder / "schema.json", {"columns": columns})
        figures = {column: {"mean": cells.mean(), "missing": {"share": 0.0}} for column, cells in _numbers(parts["train"])}
        write_json(folder / "profile.json", {"columns": figures})
        raw = [
            {"path": "a.csv", "sha256": "aa", "bytes": 9, "rows": 4_000},
            {"path": "b.csv", "sha256": "bb", "bytes": 9, "rows": 2_000},
        ]
        rows = {part: frame.height for part, frame in parts.items()}
        return {"rows": rows, "content_hash": snapshot.content_hash(folder), "raw": raw, "notes": [], "findings": []}

    data = {"clean": [], "version": version, "source": {"all": []}}
    inputs = {"data": data, "inputs": None, "outputs": {"y": None}, "sources": {"all": ["aa", "bb"]}}
    folder, manifest = perform(runs, "data", inputs, {}, 0, work)
    catalog, run = Catalog(runs), f"{name}-{version}"
    catalog.start_run(run, name, Path("lode.yaml"))
    catalog.note_stages(run, {"data": manifest.key})
    with catalog._connect() as connection:
        connection.execute("UPDATE runs SET started=? WHERE id=?", (started or f"2030-01-{version + 1:02d}", run))
    return folder


def _numbers(frame: pl.DataFrame) -> list[tuple[str, pl.Series]]:
    return [(name, frame[name]) for name in frame.columns if frame[name].dtype == pl.Float64]


def make_artifact(runs: Path, name: str, key: str) -> None:
    version, _ = Catalog(runs).add_artifact(name, f"hash of {name} {key}", f"{name}-0", None)
    write_json(artifact_folder(runs, name, version) / "lineage.json", {"stages": [{"stage": "data", "key": key}]})


def test_the_list_says_who_uses_what_and_how_it_lies(tmp_path: Path) -> None:
    folders = [put(tmp_path, "m", version) for version in range(3)]
    make_artifact(tmp_path, "m", read_manifest(folders[0]).key)  # type: ignore[union-attr]
    free(tmp_path)
    found = {item["key"]: item for item in list_snapshots(tmp_path)}
    first, second, third = (found[folder.name] for folder in folders)
    assert first["artifacts"] == ["m@1"] and first["runs"] == ["m-0"] and first["name"] == "m"
    assert (first["kept_as"], second["kept_as"], third["kept_as"]) == ("packed", "packed", "plain")
    assert first["shared_bytes"] > 1.5 * first["bytes"] and third["shared_bytes"] == 0
    assert third["rows"] == {"train": 4_000, "validation": 1_000, "test": 1_000}


def test_gc_packs_old_snapshots_and_frees_blocks_that_nobody_names(tmp_path: Path) -> None:
    folders = [put(tmp_path, "m", version) for version in range(4)]
    hashes = [snapshot.content_hash(folder) for folder in folders]
    said = garbage(tmp_path)
    assert {(entry["do"], Path(entry["folder"]).name) for entry in said} == {
        ("free", folders[0].name), ("pack", folders[1].name), ("pack", folders[2].name)
    }  # fmt: skip
    before = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    free(tmp_path)
    after = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert not folders[0].exists() and before - after > 0.8 * sum(entry["bytes"] for entry in said)
    assert [snapshot.content_hash(folder) for folder in folders[1:]] == hashes[1:]
    assert all(read_manifest(folder) is not None for folder in folders[1:]) and garbage(tmp_path) == []
    # What a run reads again is a plain file again; its blocks go with the next collection, or it is packed once more.
    assert snapshot.read(folders[1], "train").equals(table(1)[:4_000])
    assert (folders[1] / "train.parquet").is_file() and read_manifest(folders[1]) is not None
    free(tmp_path, keep=1)
    assert not folders[1].exists() and not folders[2].exists() and folders[3].exists()
    assert not [path for path in (tmp_path / "blocks").rglob("*") if path.is_file()]


def test_retention_is_what_the_last_file_says_and_artifacts_keep_theirs(tmp_path: Path) -> None:
    folders = [put(tmp_path, "m", version) for version in range(4)]
    make_artifact(tmp_path, "m", read_manifest(folders[0]).key)  # type: ignore[union-attr]
    write_json(tmp_path / "runs" / "m-3" / "spec.json", {"data": {"store": {"keep": 1}}})
    free(tmp_path)
    assert [folder.exists() for folder in folders] == [True, False, False, True]


def test_a_collection_that_dies_anywhere_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pristine = tmp_path / "pristine"
    folders = [put(pristine, "m", version) for version in range(5)]
    free(pristine)  # two are packed, so that the next collection frees one of them and its blocks
    snapshot.read(folders[2], "test")
    put(pristine, "m", 7, started="2031-01-01")
    hashes = {folder.name: snapshot.content_hash(folder) for folder in folders[3:]}
    steps = [(blocks, "pack"), (shutil, "rmtree"), (Path, "unlink")]
    real = {step: getattr(*step) for step in steps}
    calls, limit = [0], [10**9]

    def guarded(step: tuple[Any, str]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] > limit[0]:
                raise KeyboardInterrupt
            return real[step](*args, **options)

        return call

    for step in steps:
        monkeypatch.setattr(*step, guarded(step))
    done, total = tmp_path / "runs", 0
    while True:
        limit[0] = 10**9
        if done.exists():
            real[shutil, "rmtree"](done)
        shutil.copytree(pristine, done)
        calls[0], limit[0] = 0, total
        try:
            collector.free(done)
            break
        except KeyboardInterrupt:
            limit[0] = 10**9
        for name, content_hash in hashes.items():
            assert snapshot.content_hash(done / "data" / name) == content_hash, f"step {total}"
        list_snapshots(done)
        collector.free(done)
        assert garbage(done) == [] and {folder.name for folder in (done / "data").iterdir()} >= set(hashes)
        total += 1
    assert total > 10


def test_a_view_stays_readable_while_the_snapshot_is_packed_or_freed(tmp_path: Path) -> None:
    folder = put(tmp_path, "m", 0)
    with opened(tmp_path, folder) as view:
        for part in snapshot.FILES:
            blocks.pack(folder / f"{part}.parquet", tmp_path / "blocks")
        assert snapshot.read(view, "train").equals(table()[:4_000])
        with opened(tmp_path, folder) as second:
            shutil.rmtree(folder)
            assert snapshot.read(second, "test").equals(table()[5_000:])
    assert not list(tmp_path.glob(".open-*"))


def test_diff_counts_rows_that_are_new_gone_elsewhere_or_changed(tmp_path: Path) -> None:
    whole = table()
    put(tmp_path, "m", 0)
    changed = whole.with_columns(x1=pl.when(pl.col("__row__") == 7).then(99.0).otherwise("x1"))
    copy = whole[100:101].with_columns(__row__=pl.lit(9_000, pl.UInt64))
    new = {
        "train": pl.concat([changed[:10], changed[20:4_000], copy, changed[5_990:]]),  # 10 gone, 1 changed, 1 twice, 10 from test
        "validation": whole[4_000:5_000].with_columns(z=pl.lit(1.0)).drop("z"),
        "test": changed[5_000:5_990],
    }
    put(tmp_path, "m", 1, new)
    found = diff(tmp_path, "m-0", "m-1")
    rows = found["rows"]
    assert rows["unchanged"] == ROWS - 10 - 1 - 10 and rows["moved"] == {"test to train": 10}
    assert (rows["added"], rows["removed"], rows["cells_changed"]) == (2, 11, 1)
    assert rows["samples"]["added"][0]["x1"] == 99.0 and rows["samples"]["moved"][0]["split"] == "train"
    assert found["file"] == [{"key": "data.version", "a": 0, "b": 1}] and not found["same"]
    assert {entry["column"] for entry in found["columns"]} == {"x0", "x1", "x2", "x3"}
    assert diff(tmp_path, "m-0", "m-0")["same"] and diff(tmp_path, "m-0", "m-0")["rows"]["unchanged"] == ROWS


def test_diff_compares_the_columns_that_both_have_whatever_their_type(tmp_path: Path) -> None:
    whole = table()
    parts = {"train": whole[:4_000], "validation": whole[4_000:5_000], "test": whole[5_000:]}
    put(tmp_path, "m", 0)
    wide = {
        part: frame.with_columns(pl.col("y").cast(pl.Enum(["1", "0"])), z=pl.lit([1.0])).drop("x3") for part, frame in parts.items()
    }
    put(tmp_path, "m", 1, wide)
    found = diff(tmp_path, "m-0", "m-1")
    assert found["rows"]["unchanged"] == ROWS and found["rows"]["compared_columns"] == ["x0", "x1", "x2", "y"]
    assert {entry["column"]: (entry["a"], entry["b"]) for entry in found["schema"]} == {
        "x3": ("input number", None), "z": (None, "input number")
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".arrow"])
def test_an_export_holds_all_rows_and_their_part(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, "m", 0)
    output = tmp_path / "deep" / f"rows{suffix}"
    assert export(tmp_path, "m", output)["rows"] == ROWS
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".arrow": pl.read_ipc}[suffix]
    frame = read(output)
    assert set(frame["split"].value_counts().rows()) == {("test", 1_000), ("validation", 1_000), ("train", 4_000)}
    assert np.array_equal(frame["x1"].to_numpy(), table()["x1"].to_numpy())
    assert export(tmp_path, "m", output, ["test"])["rows"] == 1_000


def test_exports_that_cannot_be_leave_nothing(tmp_path: Path) -> None:
    whole = table().with_columns(b=pl.lit(b"x"))
    put(tmp_path, "m", 0, dict.fromkeys(PARTS, whole))
    put(tmp_path, "n", 1, dict.fromkeys(PARTS, table().with_columns(split=pl.lit(1))))
    with pytest.raises(DataError, match="b hold bytes or lists"):
        export(tmp_path, "m", tmp_path / "out.csv")
    with pytest.raises(DataError, match='column "split" already'):
        export(tmp_path, "n", tmp_path / "out.parquet")
    with pytest.raises(DataError, match=r"allowed: \.csv"):
        export(tmp_path, "m", tmp_path / "out.xlsx")
    assert not list(tmp_path.glob("*out*"))


def test_snapshots_are_found_by_key_run_name_and_artifact(tmp_path: Path) -> None:
    first, second = put(tmp_path, "m", 0), put(tmp_path, "m", 1)
    make_artifact(tmp_path, "m", read_manifest(first).key)  # type: ignore[union-attr]
    for word, folder in {first.name[:6]: first, "m-1": second, "m": first, "m@1": first, second.name: second}.items():
        assert find(tmp_path, word)[0] == folder
    for word, told in {"m@7": "no version 7", "mm": 'Did you mean "m"', "0000": "no snapshot"}.items():
        with pytest.raises(ArtifactError, match=told):
            find(tmp_path, word)
    shutil.rmtree(second)
    with pytest.raises(ArtifactError, match="no longer kept"):
        find(tmp_path, "m-1")


def test_a_row_is_traced_to_its_cells_its_cleaners_and_its_place_in_the_raw_files(tmp_path: Path) -> None:
    folder = put(tmp_path, "m", 0)
    make_artifact(tmp_path, "m", read_manifest(folder).key)  # type: ignore[union-attr]
    found = row_lineage(tmp_path, "m", 3)
    assert found["split"] == "train" and found["cells"]["x1"] == table()["x1"][3]
    assert [(change["cleaner"], change["before"], change["after"]) for change in found["changes"]] == [
        ("types", "a", "b"),
        ("rules", None, None),
    ]
    assert found["raw"] == {"path": "a.csv", "sha256": "aa", "position": 3}
    assert row_lineage(tmp_path, "m", 4_001)["raw"] == {"path": "b.csv", "sha256": "bb", "position": 1}
    for row in (-1, ROWS):
        with pytest.raises(DataError, match="row"):
            row_lineage(tmp_path, "m", row)
