"""Rows of each part, by bin or by word: counted for many columns in one pass over all rows. Read lode/data/quality/figures.py first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from lode.data.split import PARTS
from lode.data.threads import in_turn

PART = "__part__"
"""Column of a profile's rows: the code of their part (lode.data.split.PARTS)."""


_COLUMNS_AT_ONCE = 16
_ROWS_AT_ONCE = 20_000_000
_COLUMN_BYTES = 125_000_000
LEAST_MEMORY = 1 << 26
"""A smaller bound would only mean to read all rows again and again: reading them takes more."""


def columns_at_once(num_rows: int, memory: int) -> int:
    """Every column that is read at the same time holds a few row groups in memory, whose bound in bytes is `memory`."""
    return max(1, min(_COLUMNS_AT_ONCE, memory // _COLUMN_BYTES) // (1 + num_rows // _ROWS_AT_ONCE))


def counted(scan: pl.LazyFrame, codes: Mapping[str, tuple[pl.Expr, int]]) -> dict[str, np.ndarray]:
    """Column -> rows, int64 (parts, codes + 1), of each part and code; the last ones are those of empty cells.

    codes: column -> what gives each cell's code, and how many codes there are.
    """
    tables = {name: np.zeros(len(PARTS) * (num_codes + 1), dtype=np.int64) for name, (_, num_codes) in codes.items()}
    if not tables:
        return {}
    places = [
        (code.cast(pl.UInt32).fill_null(num_codes) + pl.col(PART).cast(pl.UInt32) * (num_codes + 1)).alias(name)
        for name, (code, num_codes) in codes.items()
    ]

    def count(batch: pl.DataFrame) -> dict[str, np.ndarray]:
        return {name: np.bincount(batch[name].to_numpy(), minlength=len(table)) for name, table in tables.items()}

    for found in in_turn(count, scan.select(places).collect_batches(maintain_order=False)):
        for name, rows in found.items():
            tables[name] += rows
    return {name: table.reshape(len(PARTS), -1) for name, table in tables.items()}
