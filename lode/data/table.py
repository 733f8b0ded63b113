"""The rows on their way to the snapshot: raw columns on disk or in memory, typed ones beside them, and which rows are kept.

Only one column is held in memory at a time; pictures and texts stay where they are. Read lode/data/ingest.py first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from lode.data import cells
from lode.data.contracts import ROW, Feature

_SLICE_ROWS = 1 << 16


@dataclass(slots=True)
class Table:
    """raw: columns as read. typed: columns that typing changed, in memory. keep: bool (N,), False for dropped rows."""

    raw: pl.LazyFrame
    num_rows: int
    typed: dict[str, pl.Series] = field(default_factory=dict)
    keep: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.keep = np.ones(self.num_rows, dtype=bool)

    def column(self, name: str) -> pl.Series:
        """All cells of a column (N,), typed if it was typed."""
        if name in self.typed:
            return self.typed[name]
        return self.raw.select(name).collect().to_series()

    def frame(self, names: Sequence[str], rows: np.ndarray | None = None) -> pl.DataFrame:
        """These columns of the kept rows (or of those in `rows`, bool (N,)) with `__row__`, in memory."""
        mask = self.keep if rows is None else rows
        columns = [_plain(self.column(name).rename(name).filter(pl.Series(mask))) for name in names]
        return pl.DataFrame([pl.Series(ROW, np.flatnonzero(mask).astype(np.uint64)), *columns])

    def lazy(self, names: Sequence[str], rows: np.ndarray) -> pl.LazyFrame:
        """The same as `frame`, to be written batch by batch."""
        own = [series.rename(name) for name, series in self.typed.items() if name in names]
        marks = [pl.Series(ROW, np.arange(self.num_rows, dtype=np.uint64)), pl.Series("__keep__", rows)]
        rest = [name for name in names if name not in self.typed]
        parts = [pl.DataFrame([*marks, *own]).lazy(), *([self.raw.select(rest)] if rest else [])]
        joined = pl.concat(parts, how="horizontal") if len(parts) > 1 else parts[0]
        words = [name for name, dtype in joined.collect_schema().items() if dtype == pl.Categorical]
        return joined.filter(pl.col("__keep__")).select(ROW, *names).with_columns(pl.col(words).cast(pl.String))

    def type_as(self, name: str, feature: Feature) -> np.ndarray:
        """Parse a column; returns the int64 positions of the rejected cells."""
        column = self.column(name)
        if column.dtype == pl.Categorical:
            return self._type_words(name, column, feature)
        if column.dtype == pl.Binary:
            return self._type_bytes(name, feature)
        parsed = feature.parse(column)
        if parsed is not column:
            self.typed[name] = parsed
        return cells.rejected(column, parsed)

    def _type_words(self, name: str, column: pl.Series, feature: Feature) -> np.ndarray:
        """Each different word is parsed once."""
        codes = column.to_physical()
        known = codes.unique().drop_nulls().sort()
        words = known.cat.to(pl.Categorical).cast(pl.String).rename(name)
        parsed = feature.parse(words)
        if parsed.dtype == pl.String and parsed.equals(words, null_equal=True):
            return np.empty(0, dtype=np.int64)
        position = np.full(int(known.max() or 0) + 2, len(known), dtype=np.uint32)
        position[known.to_numpy()] = np.arange(len(known))
        index = position[codes.fill_null(len(position) - 1).to_numpy()]
        target = parsed.cast(pl.Categorical) if parsed.dtype == pl.String else parsed
        self.typed[name] = target.extend_constant(None, 1).gather(index)
        bad = np.append(parsed.is_null().to_numpy(), False)
        return np.flatnonzero(bad[index]) if bad.any() else np.empty(0, dtype=np.int64)

    def _type_bytes(self, name: str, feature: Feature) -> np.ndarray:
        """Slice by slice, so that decoding a large collection needs little memory; rejected rows are only noted."""
        found = []
        for start in range(0, self.num_rows, _SLICE_ROWS):
            part = self.raw.select(name).slice(start, _SLICE_ROWS).collect().to_series()
            found.append(start + cells.rejected(part, feature.parse(part)))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _plain(column: pl.Series) -> pl.Series:
    return column.cast(pl.String) if column.dtype == pl.Categorical else column
