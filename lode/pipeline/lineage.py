"""What exists and how it came about: runs, versions, promotion, rollback, the way back to the raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lode.core.errors import DataError
from lode.data import snapshot
from lode.data.contracts import ROW
from lode.data.split import PARTS
from lode.pipeline.artifact import artifact_folder
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import Manifest, locked
from lode.pipeline.snapshot_diff import shown
from lode.pipeline.snapshots import find, opened
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


def row_lineage(runs: Path, name: str, row: int, version: int | None = None) -> dict[str, Any]:
    """Where a row of a model's data is, what it was before each cleaner, and where it stood in the raw bytes.

    row: `__row__` of the snapshot, its place in all raw rows from 0.
    Returns {"row", "split" (None: a cleaner dropped it), "cells", "changes" (oldest first), "raw" ({"path", "sha256", "position"})}.
    Errors: DataError for a row that the raw data have not; ArtifactError where the snapshot is no longer kept.
    """
    version = Catalog(runs).version(name, version)
    folder, manifest = find(runs, f"{name}@{version}")
    raw = _origin(manifest, row, name)
    with opened(runs, folder) as view:
        split, cells = _where(view, row)
        changes = (
            snapshot.scan(view, snapshot.CHANGES).filter(pl.col("row") == row).drop("row").collect(engine="streaming").to_dicts()
        )
    return {"row": row, "split": split, "cells": cells, "changes": changes, "raw": raw, "snapshot": manifest.key}


def _where(folder: Path, row: int) -> tuple[str | None, dict[str, Any]]:
    for part in PARTS:
        found = snapshot.scan(folder, part).filter(pl.col(ROW) == row).collect(engine="streaming")
        if found.height:
            return part, {column: shown(cell) for column, cell in found.drop(ROW).row(0, named=True).items()}
    return None, {}


def _origin(manifest: Manifest, row: int, name: str) -> dict[str, Any]:
    """The source that gave the row; rows are numbered through all sources, in their order."""
    sources: Sequence[dict[str, Any]] = manifest.result["raw"]
    if row < 0 or not all("rows" in entry for entry in sources):
        raise DataError(
            f"{name}: row {row}: found no such row. Rows are numbered from 0; data of an older lode must be read again."
        )
    position = row
    for entry in sources:
        if position < entry["rows"]:
            return {"path": entry["path"], "sha256": entry["sha256"], "position": position}
        position -= entry["rows"]
    total = sum(entry["rows"] for entry in sources)
    raise DataError(f"{name}: row {row}: the raw data have {total:,} rows, allowed: 0 to {total - 1:,}.")


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
