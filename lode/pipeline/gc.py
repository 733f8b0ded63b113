"""Garbage collection: free the stage folders that no artifact and no recent run needs. It says what first, and frees only when told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lode.data.landing import LANDED
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import lock, read_manifest, stage_folder
from lode.pipeline.run import STAGES
from lode.pipeline.state import read_json


def garbage(runs: Path, keep_runs: int) -> list[dict[str, Any]]:
    """What could be freed: [{"folder", "bytes", "why"}], largest first. The `keep_runs` latest runs of each name keep all they have."""
    catalog = Catalog(runs)
    needed = _needed(runs, catalog, keep_runs)
    found = []
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
    return sorted(found, key=lambda entry: -entry["bytes"])


def free(runs: Path, keep_runs: int) -> list[dict[str, Any]]:
    """Free what `garbage` names; nobody else may write meanwhile. Errors: BusyError."""
    with lock(runs, "lode gc"):
        found = garbage(runs, keep_runs)
        for entry in found:
            # Without its manifest a half-deleted folder is an unfinished one, never a finished one with files missing.
            for name in ("manifest.json", LANDED):
                (Path(entry["folder"]) / name).unlink(missing_ok=True)
            shutil.rmtree(entry["folder"])
    return found


def _needed(runs: Path, catalog: Catalog, keep_runs: int) -> set[Path]:
    needed, seen = set(), dict[str, int]()
    for run in catalog.runs():
        seen[run["name"]] = seen.get(run["name"], 0) + 1
        if seen[run["name"]] <= keep_runs:
            needed |= {stage_folder(runs, stage, key) for stage, key in run["stages"].items()}
    for row in catalog.artifacts():
        path = runs / "artifacts" / row["name"] / str(row["version"]) / "lineage.json"
        if path.is_file():
            needed |= {stage_folder(runs, entry["stage"], entry["key"]) for entry in read_json(path)["stages"]}
    return needed


def _landings(runs: Path, needed: set[Path]) -> list[dict[str, Any]]:
    """Rows from servers (lode.data.landing) that no needed data stage was made from and no source has now; reads that stopped."""
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
