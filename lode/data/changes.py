"""What a cleaner changed, found by comparing the rows before and after it. Cleaners need no code for their reports."""

from __future__ import annotations

import polars as pl

from lode.data.contracts import ROW

SCHEMA = {"row": pl.UInt64, "column": pl.String, "before": pl.String, "after": pl.String}
"""One line per changed cell. `column`, `before` and `after` are null where the whole row was dropped."""

_MAX_CHARS = 200


def diff(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Dropped rows and changed cells (SCHEMA), by row and then by column. Both frames carry `__row__`, in the same order."""
    kept = before
    dropped = pl.DataFrame(schema=SCHEMA)
    if after.height != before.height:
        rows = before.select(ROW).join(after.select(ROW), on=ROW, how="anti", maintain_order="left")
        dropped = rows.select(pl.col(ROW).alias("row"), *(pl.lit(None, SCHEMA[name]).alias(name) for name in list(SCHEMA)[1:]))
        kept = before.join(after.select(ROW), on=ROW, how="semi", maintain_order="left")
    parts = [_changed_cells(kept, after, name) for name in kept.columns if name != ROW and name in after.columns]
    return pl.concat([dropped, *parts]).sort("row", maintain_order=True)


def _changed_cells(before: pl.DataFrame, after: pl.DataFrame, name: str) -> pl.DataFrame:
    old, new = before[name], after[name]
    # A cleaner that leaves a column alone hands on the very same buffers, so comparing is nearly free then.
    mask = _text(old).ne_missing(_text(new)) if old.dtype != new.dtype else old.ne_missing(new)
    if not mask.any():
        return pl.DataFrame(schema=SCHEMA)
    columns = {"row": before[ROW].filter(mask), "before": _text(old.filter(mask)), "after": _text(new.filter(mask))}
    return pl.DataFrame(columns).with_columns(pl.lit(name).alias("column")).select(list(SCHEMA)).cast({"row": pl.UInt64})


def _text(column: pl.Series) -> pl.Series:
    """Cells as short strings; bytes as their number."""
    if column.dtype == pl.Binary:
        return column.bin.size().cast(pl.String) + " bytes"
    return column.cast(pl.String, strict=False).str.slice(0, _MAX_CHARS)
