"""Garbage collection: free the stage folders that no artifact and no recent run needs, and pack old snapshots into blocks that they share.

It says what first, and does it only when told. Killed at any moment it leaves everything that is needed readable; the next one goes on.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lode.core import disk
from lode.data import snapshot
from lode.data.access.landing import LANDED
from lode.data.storage import blocks
from lode.data.store import Store
from lode.pipeline import workers
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import lock, read_manifest, stage_folder
from lode.pipeline.snapshots import OPEN
from lode.pipeline.state import read_json
from lode.pipeline.work import STAGES

KEEP_RUNS = 3
_READ_S = 86_400.0
"""A view of a snapshot that is older was left by a reader that was killed."""
_PACK = "pack"


def garbage(runs: Path, keep: int | None = None) -> list[dict[str, Any]]:
    """What could be freed: [{"folder", "bytes", "why", "do"}], largest first. do: "free", or "pack" (bytes: what that saves).

    keep: so many latest runs of each name keep all they have. None: 3, and as many snapshots as `data.store.keep` of its last file says.
    """
    catalog = Catalog(runs)
    needed = _needed(runs, catalog, KEEP_RUNS if keep is None else keep) | _snapshots(runs, catalog, keep)
    found: list[dict[str, Any]] = []
    for stage in STAGES:
        for folder in sorted((runs / stage).glob("*")):
            if folder not in needed:
                whole = (folder / "manifest.json").is_file()
                why = "no artifact and no recent run needs it" if whole else "left by a run that did not finish"
                found.append({"folder": str(folder), "bytes": _bytes(folder), "why": why})
    found += _landings(runs, needed)
    kept = {(row["name"], str(row["version"])) for row in catalog.artifacts()}
    half = [folder for folder in (runs / "artifacts").glob("*/*") if (folder.parent.name, folder.name) not in kept]
    found += [{"folder": str(folder), "bytes": _bytes(folder), "why": "left by a packaging that did not finish"} for folder in half]
    views = [folder for folder in runs.glob(f"{OPEN}*") if time.time() - folder.stat().st_mtime > _READ_S]
    found += [{"folder": str(folder), "bytes": _bytes(folder), "why": "left by a reader that did not finish"} for folder in views]
    studies = [folder for folder in runs.glob("tune/*") if not workers.in_use(folder)]
    tried = [folder for study in studies for kind in ("trials", "work") for folder in study.glob(f"{kind}/*")]
    tried = [folder for folder in tried if time.time() - folder.stat().st_mtime > _READ_S]
    found += [{"folder": str(folder), "bytes": _bytes(folder), "why": "left by a trial that did not finish"} for folder in tried]
    found += _unnamed_blocks(runs, {Path(entry["folder"]) for entry in found})
    found = [{**entry, "do": "free"} for entry in found] + _packable(runs, catalog, needed)
    return sorted(found, key=lambda entry: -entry["bytes"])


def free(runs: Path, keep: int | None = None) -> list[dict[str, Any]]:
    """Free and pack what `garbage` names; nobody else may write meanwhile. Errors: BusyError, DiskFullError."""
    store = runs / blocks.FOLDER
    with lock(runs, "lode gc"):
        found = garbage(runs, keep)
        for entry in found:
            folder = Path(entry["folder"])
            if entry["do"] == _PACK or folder == store:
                continue
            # Without its manifest a half-deleted folder is an unfinished one, never a finished one with files missing.
            for name in ("manifest.json", LANDED):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder)
        # Freed first, packed last: packing needs room for the blocks of one file.
        for path in blocks.unnamed(store, blocks.named_by((runs / "data").glob(f"*/*{blocks.SUFFIX}"))):
            path.unlink()
        for entry in found:
            if entry["do"] == _PACK:
                _pack(Path(entry["folder"]), store)
    return found


def _pack(folder: Path, store: Path) -> None:
    for path in _plain_files(folder):
        try:
            blocks.pack(path, store)
        except OSError as error:
            if not disk.is_full(error):
                raise
            raise disk.full_error(store, path.stat().st_size) from error


def _plain_files(folder: Path) -> list[Path]:
    return [path for part in snapshot.FILES if (path := folder / f"{part}.parquet").is_file()]


def _packable(runs: Path, catalog: Catalog, needed: set[Path]) -> list[dict[str, Any]]:
    """Old snapshots whose blocks are elsewhere too; none where packing saves nothing. The newest of each name stays as it is."""
    newest = {keys[0] for keys in _data_keys(catalog).values()}
    finished = [folder for folder in sorted(needed) if folder.parent.name == "data" and read_manifest(folder) is not None]
    old = [folder for folder in finished if folder not in {stage_folder(runs, "data", key) for key in newest}]
    known = blocks.named_by(path for folder in finished for path in folder.glob(f"*{blocks.SUFFIX}"))
    found: list[dict[str, Any]] = []
    for folder in old:
        files = _plain_files(folder)
        if not files or snapshot.is_sealed(folder):
            continue
        cut = {sha256: size for path in files for sha256, size in blocks.cut(path)}
        new = sum(size for sha256, size in cut.items() if sha256 not in known)
        known |= set(cut)
        saved = sum(path.stat().st_size for path in files) - new
        found.append({"folder": str(folder), "bytes": saved, "why": "an older snapshot, packed into shared blocks", "do": _PACK})
    return found if any(entry["bytes"] > 0 for entry in found) else []


def _unnamed_blocks(runs: Path, going: set[Path]) -> list[dict[str, Any]]:
    """Blocks that only snapshots name which go."""
    lists = (path for path in (runs / "data").glob(f"*/*{blocks.SUFFIX}") if path.parent not in going)
    store = runs / blocks.FOLDER
    size = sum(path.stat().st_size for path in blocks.unnamed(store, blocks.named_by(lists)))
    return [{"folder": str(store), "bytes": size, "why": "blocks that no snapshot names"}] if size else []


def _data_keys(catalog: Catalog) -> dict[str, list[str]]:
    """Name -> keys of the snapshots of its runs, the latest first, each once."""
    found: dict[str, list[str]] = {}
    for run in catalog.runs():
        keys = found.setdefault(run["name"], [])
        if "data" in run["stages"] and run["stages"]["data"] not in keys:
            keys.append(run["stages"]["data"])
    return {name: keys for name, keys in found.items() if keys}


def _snapshots(runs: Path, catalog: Catalog, keep: int | None) -> set[Path]:
    """The latest snapshots of each name: as many as its last run's file keeps."""
    last = {run["name"]: run["id"] for run in reversed(catalog.runs())}
    needed = set()
    for name, keys in _data_keys(catalog).items():
        number = _kept(runs / "runs" / last[name] / "spec.json") if keep is None else keep
        needed |= {stage_folder(runs, "data", key) for key in keys[:number]}
    return needed


def _kept(path: Path) -> int:
    """`data.store.keep` of a run."""
    return int(read_json(path)["data"]["store"].get("keep", Store().keep)) if path.is_file() else Store().keep


def _needed(runs: Path, catalog: Catalog, keep_runs: int) -> set[Path]:
    """Folders of artifacts, and of recent runs but for their snapshots."""
    needed, seen = set(), dict[str, int]()
    for run in catalog.runs():
        seen[run["name"]] = seen.get(run["name"], 0) + 1
        if seen[run["name"]] <= keep_runs:
            needed |= {stage_folder(runs, stage, key) for stage, key in run["stages"].items() if stage != "data"}
    for row in catalog.artifacts():
        path = runs / "artifacts" / row["name"] / str(row["version"]) / "lineage.json"
        if path.is_file():
            needed |= {stage_folder(runs, entry["stage"], entry["key"]) for entry in read_json(path)["stages"]}
    return needed


def _landings(runs: Path, needed: set[Path]) -> list[dict[str, Any]]:
    """Rows from servers (lode.data.access.landing) that no needed data stage was made from and no source has now; reads that stopped."""
    folders = [path for path in sorted((runs / "landing").glob("*")) if path.is_dir()]
    manifests = [manifest for folder in needed if (manifest := read_manifest(folder)) is not None and manifest.stage == "data"]
    hashes = {sha256 for manifest in manifests for part in manifest.inputs["sources"].values() for sha256 in part}
    wanted = {sha256[:16] for sha256 in hashes} | {read_json(path)["folder"] for path in (runs / "landing").glob("*.json")}
    reasons = {True: "left by a read that did not finish", False: "rows of a server as they were before"}
    return [
        {"folder": str(path), "bytes": _bytes(path), "why": reasons[path.suffix == ".incoming"]}
        for path in folders
        if path.name not in wanted
    ]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
