"""What exists and how it came about: runs, versions, promotion, rollback, the way back to the raw bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lode.pipeline.artifact import artifact_folder
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import locked
from lode.pipeline.state import read_json


def list_runs(runs: Path) -> list[dict[str, Any]]:
    """All runs, the latest first. A run that is noted as running while nobody holds the folder was interrupted."""
    found = Catalog(runs).runs() if (runs / "catalog.sqlite").is_file() else []
    alive = locked(runs)
    return [{**row, "status": "interrupted"} if row["status"] == "running" and not alive else row for row in found]


def lineage(runs: Path, name: str, version: int | None = None) -> dict[str, Any]:
    """Stages, keys, seeds, versions and raw files of a packaged model. Errors: ArtifactError for an unknown name."""
    version = Catalog(runs).version(name, version)
    found: dict[str, Any] = read_json(artifact_folder(runs, name, version) / "lineage.json")
    return found


def promote(runs: Path, name: str, version: int | None = None) -> dict[str, Any]:
    """Make a version (default: the latest) production."""
    catalog = Catalog(runs)
    catalog.version(name)
    chosen = version if version is not None else max(row["version"] for row in catalog.artifacts(name))
    before = catalog.promote(name, chosen)
    return {"name": name, "version": chosen, "before": before}


def rollback(runs: Path, name: str, version: int | None = None) -> dict[str, Any]:
    """Go back to the version that was production before, or to the named one."""
    catalog = Catalog(runs)
    return promote(runs, name, catalog.previous(name) if version is None else version)
