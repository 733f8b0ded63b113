"""Columns that say the same: equal cell by cell, or one to one under other names (a code and its word).

Found in the sample, proved on all rows. Read lode/data/quality/profile.py first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.data.quality.figures import Column

_MIN_VALUES = 3
"""Two columns of two values each are one to one by chance too easily: they must be equal."""


def pairs(scan: pl.LazyFrame, sample: pl.DataFrame, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """[{"columns": [a, b], "how": "equal" or "renamed"}]: each column is held against the first one like it."""
    first: dict[tuple[bytes, int], Column] = {}
    found = []
    cells = sample.select(column.value for column in columns if column.name in sample.columns)
    # Columns that are one to one have as many different cells, and as many empty ones.
    sizes = {name: (cells[name].n_unique(), cells[name].null_count()) for name in cells.columns}
    often = Counter(sizes.values())
    for column in columns:
        if often[sizes.get(column.name, (0, 0))] < 2:
            continue
        codes = _codes(cells[column.name])
        num_values = int(codes.max(initial=-1)) + 1
        if num_values < 2:
            continue
        key = (codes.astype(np.int32).tobytes(), num_values)
        earlier = first.setdefault(key, column)
        how = None if earlier is column else _how(scan, earlier, column, num_values, len(codes))
        if how is not None:
            found.append({"columns": [earlier.name, column.name], "how": how})
    return found


def _codes(cells: pl.Series) -> np.ndarray:
    """Every value as the number of different ones before its first row, -1 for empty cells: equal for columns that are one to one."""
    values = cells.to_physical() if isinstance(cells.dtype, pl.Enum | pl.Categorical) else cells
    unique = values.drop_nulls().unique(maintain_order=True)
    codes = values.replace_strict(unique, pl.Series(np.arange(len(unique))), default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()


def _how(scan: pl.LazyFrame, a: Column, b: Column, num_values: int, num_rows: int) -> str | None:
    """Proof on all rows."""
    words = "word" in (a.kind, b.kind)
    x, y = ((column.value.cast(pl.String) if words else column.value) for column in (a, b))
    if a.kind == b.kind and scan.select(x.eq_missing(y).all()).collect(engine="streaming").item():
        return "equal"
    # Columns with another value in every row are one to one with each other: that says nothing.
    if num_values < _MIN_VALUES or num_values > 0.5 * num_rows:
        return None
    both = scan.select(x=a.value, y=b.value).group_by("x", "y").len().select("x", "y").collect(engine="streaming")
    return "renamed" if both["x"].n_unique() == both["y"].n_unique() == both.height else None
