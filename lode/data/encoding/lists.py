"""Cells that hold several values: lists of numbers or of words, from list columns, JSON and text. The features series, vector and set
share it. Every cell is read the same way whatever stands beside it.
"""

from __future__ import annotations

import numpy as np
import orjson
import polars as pl

from lode.data import cells

_NUMBERS = pl.List(pl.Float64)
_WORDS = pl.List(pl.String)
_BETWEEN = r"[\[\]()\s,;|]+"
_GAP = r"(?i)\b(null|none|na)\b"


def number_lists(column: pl.Series, group: int = 1) -> pl.Series:
    """List(Float64) cells; a gap (null, NaN, "nan" or "null" in a text) is null in the list. Null where a cell is no list of numbers.

    Lists of lists are laid flat: each inner one must have `group` numbers, and a flat list a multiple of that. In a text the numbers
    stand between blanks, commas, semicolons or bars, brackets are ignored. Lists without any number, and those with an infinite one,
    are null too.
    """
    dtype = column.dtype
    if dtype == pl.Object:
        return number_lists(_object_lists(column), group)
    if isinstance(dtype, pl.Array):
        return number_lists(column.arr.to_list(), group)
    if dtype == pl.Binary:
        return number_lists(cells.utf8(column), group)
    if dtype == pl.String:
        found = _unless(_text_numbers(column), _uneven(column, group))
    elif isinstance(dtype, pl.List):
        found = _list_numbers(column, group)
    elif dtype == pl.Null:
        return column.cast(_NUMBERS)
    else:
        return pl.Series(column.name, [None] * len(column), dtype=_NUMBERS)
    return _sound(found, group)


def _object_lists(column: pl.Series) -> pl.Series:
    """Text cells of an Object column: lists as JSON."""
    texts = [cell if isinstance(cell, str) else None if cell is None else str(cell) for cell in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def _text_numbers(column: pl.Series) -> pl.Series:
    plain = column.str.replace_all(_GAP, "nan").str.replace_all(_BETWEEN, " ").str.strip_chars(" ")
    return _cast_words(plain.str.split(" "))


def _uneven(column: pl.Series, group: int) -> pl.Series:
    """Whether a text is lists in a list of which one has not `group` numbers; as `_list_numbers` holds it, so that both read alike."""
    nested = column.str.contains(r"^\s*\[\s*\[").fill_null(False)
    if not nested.any():
        return nested
    inner = column.str.extract_all(r"\[[^\[\]]*\]")
    plain = pl.element().str.replace_all(_BETWEEN, " ").str.strip_chars(" ").str.split(" ").list.len()
    return nested & inner.list.eval(plain != group).list.any().fill_null(False)


def _cast_words(words: pl.Series) -> pl.Series:
    """List(Float64) of lists of texts; null where one of them is no number."""
    found = words.list.eval(pl.element().cast(pl.Float64, strict=False))
    # A null in the list that was none before is a text that is no number
    failed = found.list.eval(pl.element().is_null()).list.sum().fill_null(0)
    given = words.list.eval(pl.element().is_null()).list.sum().fill_null(0)
    return _unless(found, failed > given)


def _list_numbers(column: pl.Series, group: int) -> pl.Series:
    assert isinstance(column.dtype, pl.List)
    inner = column.dtype.inner
    if isinstance(inner, pl.Array):
        column = column.cast(pl.List(pl.List(inner.inner)))
        assert isinstance(column.dtype, pl.List)
        inner = column.dtype.inner
    if isinstance(inner, pl.List):
        odd = column.list.eval(pl.element().list.len().fill_null(0) != group).list.any().fill_null(False)
        flat = column.list.eval(pl.element().explode(empty_as_null=False, keep_nulls=False))
        return _list_numbers(_unless(flat, odd), group)
    if inner == pl.String:
        return _cast_words(column)
    if inner.is_numeric() or inner == pl.Null:
        return column if inner == pl.Float64 else column.cast(_NUMBERS)
    return pl.Series(column.name, [None] * len(column), dtype=_NUMBERS)


def _sound(found: pl.Series, group: int) -> pl.Series:
    """The same cells with NaN as null; null for cells with no number, an infinite one, or no whole groups."""
    if found.list.eval(pl.element().is_nan()).list.any().fill_null(False).any():
        found = found.list.eval(pl.element().fill_nan(None))
    known = found.list.eval(pl.element().is_finite())
    bad = (known.list.sum().fill_null(0) == 0) | ~known.list.all().fill_null(True)
    if group > 1:
        bad |= found.list.len().fill_null(0) % group != 0
    return _unless(found, bad & found.is_not_null())


def _unless(column: pl.Series, bad: pl.Series) -> pl.Series:
    """The column with null where `bad`."""
    return column.zip_with(~bad, pl.Series(column.name, [None], dtype=column.dtype)) if bad.any() else column


def word_lists(column: pl.Series, separator: str) -> pl.Series:
    """List(String) cells: one spelling per word, as for categories, without empty ones. Null where a cell is no list of words.

    A text is a JSON array, or words with `separator` between them; an empty one is null.
    """
    dtype = column.dtype
    if dtype == pl.Object:
        return word_lists(_object_lists(column), separator)
    if isinstance(dtype, pl.Array):
        return word_lists(column.arr.to_list(), separator)
    if dtype == pl.Binary:
        return word_lists(cells.utf8(column), separator)
    if isinstance(dtype, pl.List) and not dtype.inner.is_nested():
        return _spelt(column)
    if dtype == pl.Null:
        return column.cast(_WORDS)
    if dtype.is_nested():
        return pl.Series(column.name, [None] * len(column), dtype=_WORDS)
    texts = cells.words(column)
    found = _spelt(texts.str.split(separator))
    is_json = (texts.str.starts_with("[") & texts.str.ends_with("]")).fill_null(False)
    if is_json.any():
        read = pl.Series(column.name, [_json_words(text) for text in texts.filter(is_json)], dtype=_WORDS)
        places = np.cumsum(is_json.to_numpy()) - 1
        found = found.zip_with(~is_json, _spelt(read).gather(np.where(is_json.to_numpy(), places, 0)))
    return found


def _json_words(text: str) -> list[str] | None:
    """The words of a JSON array; None where it is none, or holds more than words and numbers."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, list) or any(isinstance(item, list | dict) for item in found):
        return None
    return [item if isinstance(item, str) else orjson.dumps(item).decode() for item in found if item is not None]


def _spelt(column: pl.Series) -> pl.Series:
    """The words of a list column as `cells.words` spells them; empty ones are left out."""
    flat, lengths = laid_flat(column)
    words = cells.words(flat)
    rows = np.repeat(np.arange(len(column)), lengths)
    known = words.is_not_null().to_numpy()
    made = gathered(words.filter(pl.Series(known, dtype=pl.Boolean)), np.bincount(rows[known], minlength=len(column)))
    return _unless(made.rename(column.name), column.is_null()) if len(column) else column.cast(_WORDS)


def laid_flat(column: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """All elements of a list column one after another, and the number of each cell's (N,), 0 for null."""
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    return column.explode(empty_as_null=False, keep_nulls=False), lengths


def gathered(values: pl.Series, lengths: np.ndarray) -> pl.Series:
    """The list column (N,) that `laid_flat` makes into these values and lengths."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    lists = pl.DataFrame({"row": rows, "value": values}).group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(lengths))})
    joined = every.join(lists, on="row", how="left", maintain_order="left")["value"]
    return joined.fill_null(pl.Series([[]], dtype=joined.dtype)) if joined.has_nulls() else joined
