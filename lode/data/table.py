"""The rows on their way to the snapshot: raw columns on disk or in memory, typed ones beside them, and which rows are kept.

Only one column is held in memory at a time; pictures and texts stay where they are. Read lode/data/ingest.py first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lode.data import cells
from lode.data.contracts import ROW, Feature

_SLICE_ROWS = 1 << 16
_MAX_WORDS, _MAX_CHARS = 10_000, 1_000
"""Columns with more different words, or a longer one, stay strings."""


@dataclass(slots=True)
class Table:
    """raw: columns as read. rows: uint64 (N,) positions in the raw data. typed: columns that typing changed, in memory.

    keep: bool (N,), False for dropped rows. parts: uint8 (N,) given parts, or None.
    """

    raw: pl.DataFrame | pl.LazyFrame
    rows: np.ndarray
    parts: np.ndarray | None = None
    typed: dict[str, pl.Series] = field(default_factory=dict)
    keep: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.keep = np.ones(len(self.rows), dtype=bool)

    @property
    def num_rows(self) -> int:
        """Rows, dropped ones included."""
        return len(self.rows)

    def replaced(self, frame: pl.DataFrame) -> Table:
        """A table of these rows (with `__row__`): what a cleaner made of `frame(...)`."""
        rows = frame[ROW].to_numpy()
        parts = None if self.parts is None else self.parts[np.searchsorted(self.rows, rows)]
        return Table(frame.drop(ROW), rows, parts)

    def column(self, name: str) -> pl.Series:
        """All cells of a column (N,), typed if it was typed."""
        return self.typed[name] if name in self.typed else self.raw_column(name)

    def kept_column(self, name: str) -> pl.Series:
        """The cells of the kept rows."""
        column = self.column(name)
        return column if self.keep.all() else column.filter(pl.Series(self.keep))

    def raw_column(self, name: str) -> pl.Series:
        """All cells of a column (N,) as they were read."""
        if name not in self.raw.lazy().collect_schema():
            return self.typed[name]
        return self.raw[name] if isinstance(self.raw, pl.DataFrame) else self.raw.select(name).collect().to_series()

    def frame(self, names: Sequence[str], rows: np.ndarray | None = None) -> pl.DataFrame:
        """These columns of the kept rows (or of those in `rows`, bool (N,)) with `__row__`, in memory."""
        mask = self.keep if rows is None else rows
        columns = [_plain(self.column(name).rename(name).filter(pl.Series(mask))) for name in names]
        return pl.DataFrame([pl.Series(ROW, self.rows[mask]), *columns])

    def lazy(self, names: Sequence[str], rows: np.ndarray) -> pl.LazyFrame:
        """The same as `frame`, to be written batch by batch."""
        raw = self.raw.lazy()
        own = [series.rename(name) for name, series in self.typed.items() if name in names]
        marks = [pl.Series(ROW, self.rows), pl.Series("__keep__", rows)]
        rest = [name for name in names if name not in self.typed]
        parts = [pl.DataFrame([*marks, *own]).lazy(), *([raw.select(rest)] if rest else [])]
        joined = pl.concat(parts, how="horizontal") if len(parts) > 1 else parts[0]
        return joined.filter(pl.col("__keep__")).select(ROW, *names)

    def type_as(self, name: str, feature: Feature, as_words: bool) -> np.ndarray:
        """Parse a column; returns the int64 positions of the rejected cells. as_words: few different strings are kept as an Enum."""
        column = self.column(name)
        if column.dtype == pl.Binary:
            return self._type_bytes(name, feature)
        if column.dtype == pl.Enum:
            parsed, bad = _parsed_words(column, feature)
        else:
            parsed = feature.parse(column)
            bad = cells.rejected(column, parsed)
        result = enumerated(parsed) if as_words else parsed
        if result is not column:
            self.typed[name] = result
        return bad

    def keep_words(self, name: str) -> None:
        """Keep the few different strings of an output as an Enum, as they stand."""
        column = self.column(name)
        if column.dtype == pl.String:
            self.typed[name] = enumerated(column)

    def _type_bytes(self, name: str, feature: Feature) -> np.ndarray:
        """Slice by slice, so that decoding a large collection needs little memory; rejected rows are only noted."""
        found = []
        for start in range(0, self.num_rows, _SLICE_ROWS):
            part = self.raw.select(name).slice(start, _SLICE_ROWS).lazy().collect().to_series()
            found.append(start + cells.rejected(part, feature.parse(part)))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _parsed_words(column: pl.Series, feature: Feature) -> tuple[pl.Series, np.ndarray]:
    """An Enum column parsed, each different word once; and the positions of rejected cells."""
    words = pl.Series(column.name, column.dtype.categories if isinstance(column.dtype, pl.Enum) else [], dtype=pl.String)
    parsed = feature.parse(words)
    if parsed.dtype == pl.String and parsed.equals(words, null_equal=True):
        return column, np.empty(0, dtype=np.int64)
    codes = cells.filled(column.to_physical(), len(words))
    bad = np.append(parsed.is_null().to_numpy(), False)
    rejected = np.flatnonzero(bad[codes]) if bad.any() else np.empty(0, dtype=np.int64)
    if parsed.dtype == pl.String:
        return renamed(column, parsed), rejected
    return parsed.extend_constant(None, 1).gather(codes), rejected


def renamed(column: pl.Series, new: pl.Series) -> pl.Series:
    """An Enum column whose words (K,) become others (K,) or null; equal ones become one word."""
    own = new.unique().drop_nulls().sort().to_list()
    place = {word: code for code, word in enumerate(own)}
    codes = np.array([*(place.get(word, len(own)) for word in new.to_list()), len(own)], dtype=_code_type(len(own)))
    return _enum(column.name, codes[cells.filled(column.to_physical(), len(new))], own)


def coded(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """Codes (N,) and words (K,) of a Categorical or Enum column; code K where a cell is null. Words are sorted."""
    num_codes, used, texts = _used_words(column)
    order = texts.arg_sort().to_numpy() if len(texts) else np.empty(0, dtype=np.int64)
    table = np.full(num_codes + 1, len(used), dtype=_code_type(len(used)))
    table[used[order]] = np.arange(len(used))
    return table.take(cells.filled(column.to_physical(), num_codes)), texts.gather(order).to_list()


def _used_words(column: pl.Series) -> tuple[int, np.ndarray, pl.Series]:
    """One more than the highest code of a Categorical or Enum column; the codes that occur (K,), ascending; their words (K,)."""
    physical = column.to_physical()
    highest: Any = physical.max()
    num_codes = 0 if highest is None else int(highest) + 1
    occurs = np.zeros(num_codes + 1, dtype=bool)
    occurs[cells.filled(physical, num_codes)] = True
    used = np.flatnonzero(occurs[:num_codes])
    if isinstance(column.dtype, pl.Enum):
        return num_codes, used, column.dtype.categories.gather(used)
    return num_codes, used, pl.Series(used).cast(physical.dtype).cat.to(column.dtype).cast(pl.String)


def cleaned(column: pl.Series, clean: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """A Categorical column as an Enum of its cleaned words, in alphabetical order; as strings if they are many."""
    num_codes, used, texts = _used_words(column)
    new = clean(texts)
    own = new.unique().drop_nulls().sort().to_list()
    places = np.full(num_codes + 1, len(used))
    places[used] = np.arange(len(used))
    by_code = new.extend_constant(None, 1).gather(places)
    if _are_few(own):
        by_code = by_code.cast(pl.Enum(own))
    return by_code.gather(column.to_physical()).alias(column.name)


def enumerated(column: pl.Series) -> pl.Series:
    """A column of strings as an Enum, in alphabetical order, if its words are few; the parts of a snapshot share it."""
    if column.dtype != pl.String:
        return column
    words = column.unique().drop_nulls().sort().to_list()
    return column.cast(pl.Enum(words)) if _are_few(words) else column


def _are_few(words: list[str]) -> bool:
    return len(words) <= _MAX_WORDS and max(map(len, words), default=0) <= _MAX_CHARS


def _enum(name: str, codes: np.ndarray, words: list[str]) -> pl.Series:
    """codes: (N,), len(words) where a cell is null."""
    series = pl.Series(name, codes)
    missing = series == len(words)
    if missing.any():
        series = series.set(missing, None)
    return series.cast(pl.UInt8 if len(words) < 256 else pl.UInt16).cat.to(pl.Enum(words))


def _code_type(num_words: int) -> type[np.unsignedinteger]:
    return np.uint8 if num_words < 255 else np.uint16 if num_words < 65_535 else np.uint32


def _plain(column: pl.Series) -> pl.Series:
    return column.cast(pl.String) if column.dtype == pl.Enum else column
