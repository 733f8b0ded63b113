"""Columns of few different words as Enums: one or two bytes per cell, words in alphabetical order. Every way there gives the same Enum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lode.data import cells
from lode.data.contracts import Feature

_MAX_WORDS, _MAX_CHARS = 10_000, 1_000
"""Columns with more different words, or a longer one, stay strings."""
_LOOK_ROWS = 1 << 16
"""Words are looked for in so many rows at a time, until all have occurred: most often in the first ones."""


def words_of(name: str, dtype: pl.DataType) -> pl.Series:
    """The words of a column of this type (K,); none where it is no Enum."""
    return pl.Series(name, dtype.categories if isinstance(dtype, pl.Enum) else [], dtype=pl.String)


def parsed_words(name: str, dtype: pl.DataType, feature: Feature) -> pl.Series | None:
    """The words of an Enum column parsed (K,); None where they are spelt as they should be."""
    words = words_of(name, dtype)
    parsed = feature.parse(words)
    return None if parsed.dtype == pl.String and parsed.equals(words, null_equal=True) else parsed


def reworded(column: pl.Series, parsed: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """An Enum column with its words (K,) parsed, and the positions of rejected cells."""
    words = words_of(column.name, column.dtype)
    codes = cells.filled(column.to_physical(), len(words))
    bad = np.zeros(len(words) + 1, dtype=bool)
    bad[cells.rejected(words, parsed)] = True
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
    used = _used(cells.filled(physical, num_codes), num_codes)
    if isinstance(column.dtype, pl.Enum):
        return num_codes, used, column.dtype.categories.gather(used)
    return num_codes, used, pl.Series(used).cast(physical.dtype).cat.to(column.dtype).cast(pl.String)


def _used(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """The codes below `num_codes` that occur, ascending."""
    occurs = np.zeros(num_codes + 1, dtype=bool)
    for start in range(0, len(codes), _LOOK_ROWS):
        occurs[codes[start : start + _LOOK_ROWS]] = True
        if occurs[:num_codes].all():
            break
    return np.flatnonzero(occurs[:num_codes])


def cleaned(column: pl.Series, clean: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """A Categorical column as an Enum of its cleaned words, in alphabetical order; as strings if they are many."""
    num_codes, used, texts = _used_words(column)
    new = clean(texts)
    own = new.unique().drop_nulls().sort().to_list()
    places = np.full(num_codes + 1, len(used))
    places[used] = np.arange(len(used))
    by_code = new.extend_constant(None, 1).gather(places)
    if are_few(own):
        by_code = by_code.cast(pl.Enum(own))
    return by_code.gather(column.to_physical()).alias(column.name)


def enumerated(column: pl.Series) -> pl.Series:
    """A column of strings as an Enum, in alphabetical order, if its words are few; the parts of a snapshot share it."""
    if column.dtype != pl.String:
        return column
    words = column.unique().drop_nulls().sort().to_list()
    return column.cast(pl.Enum(words)) if are_few(words) else column


def are_few(words: list[str]) -> bool:
    """Whether words can be kept as an Enum."""
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


def plain_words(column: pl.Series) -> pl.Series:
    """An Enum column as strings; others as they are."""
    return column.cast(pl.String) if column.dtype == pl.Enum else column
