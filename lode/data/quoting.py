"""How cells are quoted: in problems, and as the example of a column."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

import polars as pl

_MAX_FOUND_CHARS = 60
_MAX_EXAMPLE_CHARS = 80
_MAX_EXAMPLE_ITEMS = 32


def shown(cell: Any) -> str:
    """The repr of a cell, cut to 60 characters."""
    cell = cell.to_list() if isinstance(cell, pl.Series) else cell
    text = repr(cell[:_MAX_FOUND_CHARS] if isinstance(cell, str | bytes) else cell)
    too_long = len(text) > _MAX_FOUND_CHARS or (isinstance(cell, str | bytes) and len(cell) > _MAX_FOUND_CHARS)
    return text[: _MAX_FOUND_CHARS - 3] + "..." if too_long else text


def example(column: pl.Series) -> Any:
    """The first cell that is not null, as JSON; None for files and for long lists."""
    if column.dtype == pl.Binary:
        return None
    first = column.first(ignore_nulls=True)
    if isinstance(first, pl.Series):
        return first.to_list() if len(first) <= _MAX_EXAMPLE_ITEMS else None
    if isinstance(first, float):
        return int(first) if first.is_integer() and abs(first) < 2**53 else first
    if isinstance(first, datetime):
        return first.date().isoformat() if first.time() == time() else first.isoformat()
    return first[:_MAX_EXAMPLE_CHARS] if isinstance(first, str) else first
