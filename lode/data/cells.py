"""Cells to numbers, words and codes: what the features share. Vectorised, with a light path for the few rows of a request.

Read next: lode/data/features/number.py and category.py. Every light path gives what the bulk path gives (tests/unit/data/test_cells.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import numpy as np
import polars as pl

FEW_ROWS = 64
"""Up to here a dictionary is faster than a polars expression (about 40 us each)."""

BLANKS = " \t\n\r\x0b\x0c\x85\xa0\u3000\ufeff"
"""What is cut off around a cell."""

_MAX_WORD_CHARS, _SHOWN_CHARS = 1_000, 40
_COUNT_ROWS = 1 << 16
"""Codes are counted so many at a time: numpy makes eight bytes of each."""
_EXACT_INTEGER = 2.0**53
_POINT_ZERO = r"(-?[1-9][0-9]*|0)\.0+"
_POINT_ZERO_PATTERN = re.compile(_POINT_ZERO)
_BOOLEANS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}


def empty(column: pl.Series) -> np.ndarray:
    """Where a cell holds nothing, bool (N,): null, or NaN in a float column (how numpy and pandas write a missing number)."""
    missing = column.is_null()
    if column.dtype.is_float():
        missing |= column.is_nan().fill_null(False)
    return missing.to_numpy()


def rejected(before: pl.Series, after: pl.Series) -> np.ndarray:
    """int64 positions of the cells that held something before parsing and nothing after it. A blank text holds nothing, as in a CSV."""
    if after.null_count() == before.null_count():
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(after.is_null().to_numpy() & ~empty(before))
    if before.dtype == pl.Object:  # texts beside numbers: what stands beside a blank one does not change what it is
        return rows[[not (isinstance(cell := before[int(row)], str) and cell.strip(BLANKS) == "") for row in rows]]
    return rows[~blank(before.gather(rows))] if before.dtype == pl.String else rows


def shown(column: pl.Series) -> list[str]:
    """Cells for a message: texts in quotes, all of them cut short. Dates as polars writes them: Python has no year 10000."""
    if column.dtype.is_temporal():
        return [str(cell)[:_SHOWN_CHARS] for cell in column.cast(pl.String).to_list()]
    return [repr(cell[:_SHOWN_CHARS]) if isinstance(cell, str) else str(cell)[:_SHOWN_CHARS] for cell in column.to_list()]


def nulled(column: pl.Series) -> pl.Series:
    """The column with null where a number is NaN or a text is blank; itself where none is."""
    if column.dtype.is_float() and column.is_nan().any():
        return column.fill_nan(None)
    if column.dtype == pl.String and (nothing := blank(column)).any():
        return column.set(pl.Series(nothing), None)
    return column


def blank(column: pl.Series) -> np.ndarray:
    """Where a String cell holds blanks only, or nothing but is not null, bool (N,)."""
    return (column.str.strip_chars(BLANKS) == "").fill_null(False).to_numpy()


def numbers(column: pl.Series) -> pl.Series:
    """Float64 cells; null where a cell is no finite number. Strings may have blanks around them; true and false are 1 and 0."""
    dtype = column.dtype
    if dtype == pl.Object:
        return numbers(object_strings(column))
    if dtype == pl.String:
        column = _parsed_numbers(column)
    elif dtype != pl.Float64:
        if not (dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null):
            return pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
        column = column.cast(pl.Float64)
    if math.isfinite(column.sum()):
        return column  # one cell that is not finite shows in the sum
    values = column.to_numpy()
    finite = np.isfinite(values)
    if np.count_nonzero(finite) == len(values) - column.null_count():
        return column
    return pl.Series(column.name, np.where(finite, values, np.nan), nan_to_null=True)


def _parsed_numbers(column: pl.Series) -> pl.Series:
    values = column.cast(pl.Float64, strict=False)
    if values.null_count() == column.null_count():
        return values
    return column.str.strip_chars(BLANKS).cast(pl.Float64, strict=False)


def object_strings(column: pl.Series) -> pl.Series:
    """String cells of an Object column (cells of mixed types, as a request can bring them)."""
    texts = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def json_texts(column: pl.Series) -> pl.Series:
    """Cells that are lists or records as JSON text (a conversation: a list of records)."""
    texts = [None if cell is None else json.dumps(cell, ensure_ascii=False, default=str) for cell in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def words(column: pl.Series) -> pl.Series:
    """One spelling per category, String cells: 1, 1.0 and "1" are "1"; true and "True" are "true"; blanks around it are cut, "" is null.

    Null also where a cell can be no word: bytes that are not UTF-8, lists, records.
    """
    dtype = column.dtype
    if dtype == pl.String:
        return _few_words(column) if len(column) <= FEW_ROWS else _many_words(column)
    if isinstance(dtype, pl.Enum):
        return _enum_words(column, dtype)
    if dtype == pl.Object:
        return words(object_strings(column))
    if dtype.is_float() or dtype.is_decimal():
        return _number_words(column.cast(pl.Float64))
    if dtype == pl.Binary:
        return words(utf8(column))
    if dtype.is_nested():
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    plain = column.cast(pl.String)
    return plain if dtype.is_integer() or dtype in (pl.Boolean, pl.Null) else words(plain)


def _enum_words(column: pl.Series, dtype: pl.Enum) -> pl.Series:
    """A snapshot keeps few words as an Enum: it stays one if each of its words is spelt as it should be."""
    names = dtype.categories
    return column if words(names).equals(names, null_equal=True) else words(column.cast(pl.String))


def utf8(column: pl.Series) -> pl.Series:
    """String cells of a Binary column; null where the bytes are not UTF-8."""
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        texts = [_decoded(cell) for cell in column.to_list()]
        return pl.Series(column.name, texts, dtype=pl.String)


def _decoded(cell: bytes | None) -> str | None:
    try:
        return cell.decode() if cell is not None else None
    except UnicodeDecodeError:
        return None


def _number_words(column: pl.Series) -> pl.Series:
    """Words of a Float64 column: whole numbers without a point, others as polars writes them."""
    texts = column.cast(pl.String)
    if len(column) <= FEW_ROWS:
        pairs = zip(column.to_list(), texts.to_list(), strict=True)
        return pl.Series(column.name, [_number_word(value, text) for value, text in pairs], dtype=pl.String)
    values = column.fill_null(0.0).to_numpy()
    whole = (np.floor(values) == values) & (np.abs(values) < _EXACT_INTEGER)
    integers = pl.Series(column.name, np.where(whole, values, 0.0).astype(np.int64)).cast(pl.String)
    found = integers if whole.all() else integers.zip_with(pl.Series(whole), texts)
    known = ~empty(column)
    return found if known.all() else found.zip_with(pl.Series(known), pl.Series([None], dtype=pl.String))


def _number_word(value: float | None, text: str | None) -> str | None:
    if value is None or value != value:
        return None
    return str(int(value)) if abs(value) < _EXACT_INTEGER and value == int(value) else text


def _few_words(column: pl.Series) -> pl.Series:
    cells = column.to_list()
    same = [_word(cell) for cell in cells]
    return column if same == cells else pl.Series(column.name, same, dtype=pl.String)


def _word(cell: str | None) -> str | None:
    word = cell.strip(BLANKS) if cell else None
    if not word:
        return None
    found = _POINT_ZERO_PATTERN.fullmatch(word) if word.endswith("0") else None
    return found.group(1) if found else _BOOLEANS.get(word, word)


def _many_words(column: pl.Series) -> pl.Series:
    before = column.unique()
    stripped = before.to_frame("word").lazy().with_columns(pl.col("word").str.strip_chars(BLANKS).replace("", None))
    one_spelling = pl.col("word").str.replace(f"^{_POINT_ZERO}$", "$1").replace(_BOOLEANS)
    after = stripped.select(one_spelling).collect().to_series()
    if after.equals(before, null_equal=True):
        return column
    changed = after.ne_missing(before)
    return column.replace(before.filter(changed), after.filter(changed))


def filled(physical: pl.Series, code: int) -> np.ndarray:
    """Unsigned codes (N,) with `code` where a cell is null."""
    if not physical.has_nulls():
        return physical.to_numpy()
    roomy = physical if code < 2**8 or physical.dtype != pl.UInt8 else physical.cast(pl.UInt16)
    roomy = roomy if code < 2**16 or roomy.dtype == pl.UInt32 else roomy.cast(pl.UInt32)
    return roomy.fill_null(code).to_numpy()


def code_counts(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """How often each code below `num_codes` occurs, int64 (num_codes,). codes: unsigned (N,)."""
    if num_codes > _COUNT_ROWS:
        return np.bincount(codes, minlength=num_codes)
    counts = np.zeros(num_codes, dtype=np.int64)
    for start in range(0, len(codes), _COUNT_ROWS):
        counts += np.bincount(codes[start : start + _COUNT_ROWS], minlength=num_codes)
    return counts


def value_rows(column: pl.Series) -> pl.DataFrame:
    """The different values (words of an Enum or Categorical as strings), and the "rows" that hold each; in any order, without null."""
    dtype = column.dtype
    if not isinstance(dtype, pl.Enum):
        counts = column.rename("value").drop_nulls().value_counts(name="rows")
        return counts.cast({"value": pl.String}) if isinstance(dtype, pl.Categorical) else counts
    words = dtype.categories
    rows = code_counts(filled(column.to_physical(), len(words)), len(words) + 1)
    return pl.DataFrame([words.rename("value"), pl.Series("rows", rows[:-1])]).filter(pl.col("rows") > 0)


def ranked_words(column: pl.Series, min_count: int, max_values: int) -> list[str]:
    """The words of a String or Enum column, most frequent first, equally frequent ones in alphabetical order."""
    counts = value_rows(column)
    kept = counts.filter((pl.col("rows") >= min_count) & (pl.col("value").str.len_bytes() <= _MAX_WORD_CHARS))
    return kept.sort(["rows", "value"], descending=[True, False])["value"].head(max_values).to_list()


class WordCodes:
    """Words to codes: the word at position i has code i + 1; everything else, null included, is 0.

    words: distinct, in code order.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.table = {word: code for code, word in enumerate(self.words, start=1)}
        self._enum = pl.Enum(self.words)

    def codes(self, column: pl.Series) -> np.ndarray:
        """int32 (N,) codes of a String or Enum column."""
        num_rows = len(column)
        if num_rows <= FEW_ROWS:
            table = self.table
            return np.fromiter((table.get(word, 0) for word in column.to_list()), dtype=np.int32, count=num_rows)
        if not self.words:
            return np.zeros(num_rows, dtype=np.int32)
        dtype = column.dtype  # made anew whenever it is asked for
        if isinstance(dtype, pl.Enum):
            names = dtype.categories.to_list()
            codes_of = np.array([*(self.table.get(word, 0) for word in names), 0], dtype=np.int32)
            return codes_of.take(filled(column.to_physical(), len(names)))
        positions = column.cast(self._enum, strict=False).to_physical().cast(pl.Int32)
        codes = positions.fill_null(-1).to_numpy() if positions.has_nulls() else positions.to_numpy()
        return codes + np.int32(1)
