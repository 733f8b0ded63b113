"""The snapshots of a runs folder: which are kept and who needs them, a way to read one whatever happens to it meanwhile, exports.

Read lode/data/snapshot.py for how one lies on disk, lode/pipeline/snapshot_diff.py for how two differ, lode/pipeline/gc.py for how they go.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from lode.core.errors import ArtifactError, DataError, listed, near_miss
from lode.data import snapshot
from lode.data.split import PARTS
from lode.data.storage import blocks, keys
from lode.pipeline.artifact import artifact_folder
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import Manifest, read_manifest, stage_folder
from lode.pipeline.state import read_json

OPEN = ".open-"
"""Folders in the runs folder through which a snapshot is read; `lode gc` frees what a killed reader left."""
_MIN_PREFIX = 4
_SPLIT = "split"
_SINKS: dict[str, Callable[[pl.LazyFrame, Path], Any]] = {
    ".csv": lambda frame, path: frame.sink_csv(path),
    ".parquet": snapshot.sink_plain,
    ".jsonl": lambda frame, path: frame.sink_ndjson(path),
    ".arrow": lambda frame, path: frame.sink_ipc(path),
}


def list_snapshots(runs: Path) -> list[dict[str, Any]]:
    """Every finished snapshot, the newest first.

    Returns per snapshot {"key", "name" (of its runs, None where none is known), "when", "rows" (per part), "bytes" (only it has),
    "shared_bytes" (blocks that others have too), "hash", "kept_as" ("plain", "packed", "encrypted"), "runs" (ids), "artifacts"
    ("NAME@VERSION"), "folder"}.
    """
    folders = [folder for folder in sorted((runs / "data").glob("*")) if folder.is_dir()]
    shared = _snapshots_of_blocks(folders)
    users, artifacts = _runs_of(runs), _artifacts_of(runs)
    found = []
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest is None:
            continue
        own, common = _bytes(folder, shared)
        names = dict.fromkeys(name for name, _ in users.get(manifest.key, ()))
        record = {"key": folder.name, "name": ", ".join(names) or None, "when": manifest.started, "rows": dict(manifest.result["rows"]),
                  "bytes": own, "shared_bytes": common, "hash": manifest.result["content_hash"], "kept_as": how_kept(folder),
                  "runs": [run for _, run in users.get(manifest.key, ())], "artifacts": artifacts.get(manifest.key, []),
                  "folder": str(folder)}  # fmt: skip
        found.append(record)
    return sorted(found, key=lambda record: record["when"], reverse=True)


def how_kept(folder: Path) -> str:
    """How a snapshot lies on disk: "encrypted", "packed" (some file of it) or "plain"."""
    if snapshot.is_sealed(folder):
        return "encrypted"
    ways = {snapshot.kept_as(folder / f"{part}.parquet") for part in snapshot.FILES}
    return "packed" if "packed" in ways else "plain"


def find(runs: Path, word: str) -> tuple[Path, Manifest]:
    """The snapshot that a word names: its key or the beginning of it, a run's id, `NAME@VERSION`, or `NAME`.

    NAME: of the artifact in production, or where there is none of that name, of its last run. Errors: ArtifactError.
    """
    key = _key_of(runs, word)
    manifest = read_manifest(stage_folder(runs, "data", key))
    if manifest is None:
        raise ArtifactError(
            f"{word}: its snapshot {key[:16]} is no longer kept in {runs / 'data'}. Run the file again: `lode data` makes it."
        )
    return stage_folder(runs, "data", key), manifest


def forget_clear(runs: Path, folder: Path) -> None:
    """Take a snapshot in clear for unfinished, so that it is made again; what its runs keep of it goes: pages and notes quote cells."""
    manifest = read_manifest(folder)
    for _, run in _runs_of(runs).get(manifest.key, ()) if manifest else ():
        for name in ("quality.html", "run.json"):
            (runs / "runs" / run / name).unlink(missing_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)


@contextmanager
def opened(runs: Path, folder: Path) -> Iterator[Path]:
    """A folder with the snapshot's files that stays readable whatever a run or `lode gc` does to the snapshot meanwhile."""
    with tempfile.TemporaryDirectory(prefix=OPEN, dir=runs) as place:
        view = Path(place) / folder.name  # encrypted files are bound to the name
        view.mkdir()
        for part in snapshot.FILES:
            _bring(folder / f"{part}.parquet", view, runs / blocks.FOLDER)
        for name in (keys.RECORD, "schema.json", "profile.json"):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, view / name)
        yield view


def export(runs: Path, word: str, output: Path, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Write a snapshot's rows as one table with a column `split`; whole or not at all. The output's suffix decides the format.

    Returns {"key", "rows", "bytes", "output"}. Errors: DataError, ArtifactError.
    """
    sink = _SINKS.get(output.suffix)
    if sink is None:
        raise DataError(f'{output}: found "{output.suffix}", allowed: {listed(_SINKS)}. Name the output with one of these.')
    folder, _ = find(runs, word)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    with opened(runs, folder) as view:
        frames = [snapshot.scan(view, part).with_columns(pl.lit(part).alias(_SPLIT)) for part in parts]
        _check_columns(snapshot.scan(view, parts[0]).collect_schema(), output)
        try:
            sink(pl.concat(frames), temporary)
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
        rows = sum(int(snapshot.scan(view, part).select(pl.len()).collect().item()) for part in parts)
    return {"key": folder.name, "rows": rows, "bytes": output.stat().st_size, "output": str(output)}


def _check_columns(schema: pl.Schema, output: Path) -> None:
    if _SPLIT in schema:
        raise DataError(f'{output}: the data have a column "{_SPLIT}" already, which an export adds. Rename it in the raw data.')
    odd = [name for name, dtype in schema.items() if dtype == pl.Binary or (output.suffix == ".csv" and dtype.is_nested())]
    if odd and output.suffix in (".csv", ".jsonl"):
        raise DataError(f"{output}: {listed(odd)} hold bytes or lists, which {output.suffix} cannot. Export to .parquet or .arrow.")


def _bring(path: Path, view: Path, store: Path) -> None:
    """The file of a part into the view: a link to what is there, or unpacked. Between two looks it may have been packed."""
    for _ in range(2):
        lies = snapshot.kept_as(path)
        if lies == "packed":
            blocks.unpack(blocks.list_of(path), view / path.name, store)
            return
        source = path if lies == "plain" else snapshot.sealed_path(path)
        try:
            os.link(source, view / source.name)
        except FileNotFoundError:
            continue
        except OSError:  # a file system without links
            shutil.copyfile(source, view / source.name)
        return
    raise ArtifactError(f"{path}: vanished while it was read. Try again.")


def _key_of(runs: Path, word: str) -> str:
    folders = sorted(path.name for path in (runs / "data").glob("*") if path.is_dir())
    if re.fullmatch(rf"[0-9a-f]{{{_MIN_PREFIX},64}}", word):
        fitting = [name for name in folders if name.startswith(word[:16])]
        if len(fitting) > 1:
            raise ArtifactError(f"{word}: found {len(fitting)} snapshots that begin so ({listed(fitting)}). Write more of the key.")
        if fitting:
            return fitting[0]
    name, _, version = word.partition("@")
    catalog = Catalog(runs)
    artifacts = catalog.artifacts()
    if name in {row["name"] for row in artifacts}:
        number = catalog.version(name, int(version) if version.isdigit() else None)
        return _data_key(artifact_folder(runs, name, number))
    rows = [row for row in (catalog.runs() if catalog.path.is_file() else []) if "data" in row["stages"]]
    found = next((row for row in rows if word in (row["id"], row["name"])), None)
    if found is not None:
        return str(found["stages"]["data"])
    known = [*folders, *dict.fromkeys(row["name"] for row in (*artifacts, *rows)), *(row["id"] for row in rows)]
    raise ArtifactError(
        f"{word}: no snapshot, run or model of this name in {runs}.{near_miss(word, known)} `lode data --list` shows what there is."
    )


def _data_key(folder: Path) -> str:
    stages = read_json(folder / "lineage.json")["stages"]
    return str(next(entry["key"] for entry in stages if entry["stage"] == "data"))


def _runs_of(runs: Path) -> dict[str, list[tuple[str, str]]]:
    """Data key -> (name, id) of the runs that used it, the latest first."""
    catalog = Catalog(runs)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in catalog.runs() if catalog.path.is_file() else ():
        if "data" in row["stages"]:
            found.setdefault(row["stages"]["data"], []).append((row["name"], row["id"]))
    return found


def _artifacts_of(runs: Path) -> dict[str, list[str]]:
    """Data key -> NAME@VERSION of the artifacts that were made from it."""
    found: dict[str, list[str]] = {}
    for row in Catalog(runs).artifacts():
        folder = artifact_folder(runs, row["name"], row["version"])
        if (folder / "lineage.json").is_file():
            found.setdefault(_data_key(folder), []).append(f"{row['name']}@{row['version']}")
    return found


def _bytes(folder: Path, shared: dict[str, int]) -> tuple[int, int]:
    """Bytes that a snapshot alone takes, and bytes of blocks that others name too."""
    own = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sizes = _blocks_of(folder)
    common = sum(size for sha256, size in sizes.items() if shared[sha256] > 1)
    return own + sum(sizes.values()) - common, common


def _blocks_of(folder: Path) -> dict[str, int]:
    """sha256 -> bytes of the blocks that a snapshot names."""
    listings = folder.glob(f"*{blocks.SUFFIX}")
    return {sha256: size for listing in listings for sha256, size in blocks.read_list(listing)["blocks"]}


def _snapshots_of_blocks(folders: Sequence[Path]) -> dict[str, int]:
    """sha256 -> how many snapshots name the block."""
    counts: dict[str, int] = {}
    for folder in folders:
        for sha256 in _blocks_of(folder):
            counts[sha256] = counts.get(sha256, 0) + 1
    return counts
