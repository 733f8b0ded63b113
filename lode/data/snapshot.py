"""A snapshot on disk: train, validation and test as Parquet, what cleaners changed, the schema and the counts.

Files appear whole or not at all, and equal rows give equal bytes. Read lode/data/ingest.py first.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lode.data.split import PARTS

_ROW_GROUP_ROWS = 1 << 17


def write_rows(frame: pl.LazyFrame, path: Path) -> None:
    """Write a table batch by batch. The order of rows, and with the fixed group size the bytes, do not depend on threads."""
    temporary = path.with_name(f".{path.name}.tmp")
    # LZ4 without statistics: written once and read whole, so speed counts more than the last byte.
    frame.sink_parquet(
        temporary, compression="lz4", statistics=False, row_group_size=_ROW_GROUP_ROWS, maintain_order=True, engine="streaming"
    )
    os.replace(temporary, path)


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write JSON that a person can read."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def content_hash(folder: Path) -> str:
    """sha256 over the bytes of the three split files, in order."""
    digest = hashlib.sha256()
    for part in PARTS:
        with (folder / f"{part}.parquet").open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
