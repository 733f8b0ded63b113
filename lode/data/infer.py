"""What a column is, when lode.yaml does not say. Every guess has a reason, which is printed and written into the run; doubt is an error.

Looks at different values and how often each occurs, not at every cell. Read lode/data/ingest.py next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import cells

MAX_CLASSES = 30
_MAX_WORDS = 50
"""A category may always have so many words; with more, at most half of its cells may be different."""
_MIN_ROWS_FOR_IDS = 20
_MOSTLY = 0.9
_TEXT_WORDS = 4.0
_TEXT_CHARS = 20.0
_SAMPLE = 2_000
_FIRST_PICTURES = 100
_PICTURES = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"\x93NUMPY")
"""How the bytes of pictures start (WEBP says so a little later)."""
_SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM")
"""How the bytes of recordings start."""
_CJK = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"

Repair = Callable[[pl.Series, str], pl.Series]
"""repair(different cells, feature word) -> what the raw cleaners make of them."""


@dataclass(frozen=True, slots=True)
class Guess:
    """component: None where the column is ignored. why: "every cell is a number"."""

    component: Component | None
    why: str


def _as(word: str, why: str, options: Mapping[str, Any] | None = None) -> Guess:
    return Guess(Component(word, options or {}), why)


def _ignored(why: str) -> Guess:
    return Guess(None, why)


@dataclass(slots=True)
class _Column:
    """A column's different cells and their numbers."""

    name: str
    num_rows: int
    values: pl.Series
    counts: np.ndarray
    num_known: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_known = int(self.counts.sum())


def infer_input(column: pl.Series, repair: Repair | None = None) -> Guess:
    """The feature of an input column as the source gave it.

    Errors: DataError where most cells, but not all, are numbers or dates.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        return _lists(column)
    if dtype.is_nested() or dtype in (pl.Object, pl.Duration, pl.Time):
        return _ignored(f"holds {dtype}, which no feature reads")
    if column.null_count() == len(column):
        return _ignored("is empty")
    if dtype == pl.Binary:
        first = column.drop_nulls().head(_FIRST_PICTURES).to_list()
        if any(cell.startswith(_PICTURES) or cell[8:12] == b"WEBP" for cell in first):
            return _as("image", "the cells are pictures")
        is_any = any(cell.startswith(_SOUNDS) and cell[8:12] != b"AVI " for cell in first)
        return (
            _as("audio", "the cells are recordings") if is_any else _ignored("holds bytes that are no pictures and no recordings")
        )
    if dtype == pl.Boolean:
        return _ignored("has the same value in every row") if _is_constant(column) else _as("binary", "the cells are true or false")
    if dtype.is_numeric():
        return _number(column.cast(pl.Float64) if dtype != pl.Float64 else column)
    if dtype.is_temporal():
        return _ignored("has the same value in every row") if _is_constant(column) else _as("date", "the cells are dates")
    return _words(_distinct(column), repair)


def infer_output(column: pl.Series) -> Guess:
    """The task of an output column.

    Errors: DataError where it has one value only, or too many words to be classes.
    """
    known = column.drop_nulls()
    found = _distinct(known.cast(pl.String) if known.dtype == pl.Boolean or known.dtype.is_temporal() else known)
    num_values, numbers = len(found.values), _numbers_of(found.values)
    if num_values == 0:
        raise DataError(f"outputs.{column.name}: every cell is empty, there is nothing to learn. Name another column.")
    if num_values == 1:
        raise DataError(
            f'outputs.{column.name}: all {found.num_known:,} labels are "{found.values[0]}", there is nothing to learn. '
            "Name another column."
        )
    if num_values == 2:
        return _as("binary", "it has two values")
    if not numbers.has_nulls():
        whole = bool((numbers == numbers.floor()).all())
        return (
            _as("multiclass", f"it has {num_values} whole numbers")
            if whole and num_values <= MAX_CLASSES
            else _as("number", "every cell is a number")
        )
    if num_values <= MAX_CLASSES:
        return _as("multiclass", f"it has {num_values} words")
    raise DataError(
        f"outputs.{column.name}: {num_values:,} different values that are no numbers ({listed(found.values.head(4).to_list(), 4)}). "
        "Name the task: `{type: multiclass}` if they are classes."
    )


def _lists(column: pl.Series) -> Guess:
    """A column of lists: a set of words, a vector where all are of one length, else a series."""
    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    known = lists.filter(lists.list.len().fill_null(0) > 0)
    inner: Any = lists.dtype.inner  # type: ignore[attr-defined]
    if not len(known):
        return _ignored("is empty")
    if inner == pl.String:
        return _as("set", "the cells are lists of words")
    steps = isinstance(inner, pl.List | pl.Array)
    if not (inner.inner if steps else inner).is_numeric():
        return _ignored(f"holds {column.dtype}, which no feature reads")
    if steps:
        widths = known.explode(empty_as_null=False).drop_nulls()
        sizes = (widths.arr.to_list() if isinstance(inner, pl.Array) else widths).list.len().unique()
        if len(sizes) != 1:
            return _ignored("holds lists of lists of different lengths, which no feature reads")
        return _as("series", f"the cells are lists of steps with {sizes[0]} numbers each", {"channels": int(sizes[0])})
    if known.list.len().n_unique() == 1:
        return _as("vector", f"every cell is a list of {known.list.len()[0]} numbers")
    return _as("series", "the cells are lists of numbers of different lengths")


def _distinct(column: pl.Series) -> _Column:
    """Different cells in a fixed order: by number of rows, then by value."""
    counts = cells.value_rows(column).sort(["rows", "value"], descending=[True, False])
    return _Column(column.name, len(column), counts["value"], counts["rows"].to_numpy())


def _is_constant(column: pl.Series) -> bool:
    return not column.has_nulls() and column.n_unique() == 1


def _number(column: pl.Series) -> Guess:
    """A column of numbers: number, binary, or nothing to learn from."""
    low: Any = column.min()
    high: Any = column.max()
    if low is None or high is None or (not column.has_nulls() and low == high):
        return _ignored("has the same value in every row" if low is not None else "is empty")
    if column.head(_SAMPLE).n_unique() <= 3 and column.drop_nulls().n_unique() == 2:
        return _as("binary", "it has two values")
    if _counts_up(column, float(low), float(high)):
        return _ignored("counts the rows up by one, like a number of the row")
    return _as("number", "every cell is a number")


def _counts_up(column: pl.Series, low: float, high: float) -> bool:
    """Whether the cells are the whole numbers from low to high, each once."""
    num_rows = len(column)
    if num_rows < _MIN_ROWS_FOR_IDS or column.has_nulls() or high - low != num_rows - 1:
        return False
    return bool((column == column.floor()).all()) and column.n_unique() == num_rows


def _words(column: _Column, repair: Repair | None) -> Guess:
    """A column of text: numbers and dates in disguise, text, ids, or categories."""
    for word, parse in (("number", _numbers_of), ("date", _dates_of)):
        guess = _parsed(column, word, parse, repair)
        if guess is not None:
            return guess
    num_values, share = len(column.values), len(column.values) / max(column.num_known, 1)
    if num_values == 1 and column.num_known == column.num_rows:
        return _ignored("has the same value in every row")
    text = _text(column.values) if share > 0.5 else None
    if text is not None:
        return text
    if num_values == column.num_known and num_values >= _MIN_ROWS_FOR_IDS:
        return _ignored("has another value in every row, like an id")
    if num_values > _MAX_WORDS and share > 0.5:
        return _ignored(f"has {num_values:,} different words in {column.num_known:,} cells, almost an id")
    return _as("category", "it has one word" if num_values == 1 else f"it has {num_values:,} different words")


def _parsed(column: _Column, word: str, parse: Callable[[pl.Series], pl.Series], repair: Repair | None) -> Guess | None:
    """Number or date, if the cells are; None if they are not."""
    values = repair(column.values, word) if repair is not None else column.values
    if word == "date" and not values.head(_SAMPLE).str.contains(r"\d{4}").any():
        return None  # a date has a year; making the feature and trying its patterns costs more than this look
    if not _worth_a_try(values, parse):
        return _slashed(column) if word == "date" else None
    found = parse(values)
    failed = found.is_null().to_numpy()
    num_failed = int(column.counts[failed].sum())
    if num_failed > (1.0 - _MOSTLY) * column.num_known:
        return None
    if num_failed and repair is None:
        samples = column.values.filter(pl.Series(failed)).head(4).to_list()
        raise DataError(
            f"inputs.{column.name}: {column.num_known - num_failed:,} cells are {word}s, {num_failed:,} are not "
            f"({', '.join(repr(sample[:40]) for sample in samples)}). Add `{{type: types}}` to data.clean, or name the column's type."
        )
    if word == "date":
        return _as("date", "every cell is a date")
    rows = pl.Series(column.name, np.repeat(found.fill_null(np.nan).to_numpy(), column.counts)).fill_nan(None)
    padded = rows.extend_constant(None, column.num_rows - len(rows)) if column.num_rows > len(rows) else rows
    return _number(padded)


def _worth_a_try(values: pl.Series, parse: Callable[[pl.Series], pl.Series]) -> bool:
    """Whether some of the first cells are of that type: a glance that saves parsing millions of texts."""
    head = values.head(_SAMPLE)
    return parse(head).null_count() < len(head)


def _numbers_of(values: pl.Series) -> pl.Series:
    return cells.numbers(values)


def _dates_of(values: pl.Series, slashes: str | None = None) -> pl.Series:
    options = {} if slashes is None else {"slashes": slashes}
    parsed: pl.Series = REGISTRIES["feature"].create(Component("date", options)).parse(values)
    return parsed


def _slashed(column: _Column) -> Guess | None:
    """Dates such as 03/04/2024 and 25/12/2024: only a day after the twelfth tells which comes first.

    Errors: DataError where every cell can be read both ways.
    """
    if not column.values.head(_SAMPLE).str.contains(r"^\s*\d{1,2}/\d{1,2}/\d{4}").all():
        return None
    orders = ("month/day/year", "day/month/year")
    fit = [order for order in orders if not _dates_of(column.values, order).has_nulls()]
    if not fit:
        return None
    if len(fit) == 2:
        raise DataError(
            f"inputs.{column.name}: dates such as {column.values[0]!r} can be read in two ways. "
            f"Name the column's type: `{{type: date, slashes: {orders[0]}}}` or `{{type: date, slashes: {orders[1]}}}`."
        )
    return _as("date", f"every cell is a date ({fit[0]})", {"slashes": fit[0]})


def _text(values: pl.Series) -> Guess | None:
    """Free text has several words; Chinese, Japanese and Korean, written without spaces, many characters."""
    sample = values.gather_every(max(1, len(values) // _SAMPLE)).head(_SAMPLE)
    num_words = float(np.mean(sample.str.count_matches(r"\s+").to_numpy() + 1.0))
    if num_words >= _TEXT_WORDS:
        return _as("text", f"the cells have {num_words:.0f} words on average")
    num_chars = float(np.mean(sample.str.len_chars().to_numpy()))
    if num_chars >= _TEXT_CHARS and float(np.mean(sample.str.contains(_CJK).to_numpy())) > 0.5:
        return _as("text", f"the cells have {num_chars:.0f} characters on average")
    return None
