"""Fills missing cells, or drops the training rows that have one. Without it features handle missing cells themselves (a flag, code 0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl

from lode.data.contracts import ROW, Cleaner, State

WORD = "missing"
"""The word of a category's missing cells, with `categories: word`."""


class Missing(Cleaner):
    """Fills missing cells with what training rows say; the same values are used for every later row.

    Args:
        numbers: what a missing number becomes: its column's median or mean, zero, or nothing else ("keep").
        categories: what a missing category becomes: the most frequent word ("mode"), the word "missing" ("word"), or nothing else.
        drop: drop training rows with a missing cell instead; rows to be predicted and tested are never dropped.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"

    def __init__(
        self,
        *,
        numbers: Literal["keep", "median", "mean", "zero"] = "keep",
        categories: Literal["keep", "mode", "word"] = "keep",
        drop: bool = False,
    ) -> None:
        self.numbers, self.categories = numbers, categories
        self.scope = "training" if drop else "cells"
        self._fill: dict[str, Any] = {}
        self._columns: list[str] = []

    def fit(self, frame: pl.DataFrame, types: Mapping[str, str]) -> None:
        self._columns = [name for name in frame.columns if name in types and name != ROW]
        self._fill = {}
        for name in self._columns:
            value = self._value(frame[name], types[name])
            if value is not None:
                self._fill[name] = value

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.scope == "training":
            return frame.drop_nulls([name for name in frame.columns if name in self._columns])
        fill = {name: value for name, value in self._fill.items() if name in frame.columns}
        return frame.with_columns(_filled(frame[name], value) for name, value in fill.items()) if fill else frame

    def _value(self, column: pl.Series, word: str) -> Any:
        """What the missing cells of a column become; None to leave them."""
        if word == "number" and column.dtype.is_numeric():
            return self._number(column)
        if word == "category" and self.categories == "word":
            return WORD
        if word in ("category", "binary") and self.categories == "mode":
            return _most_frequent(column)
        return None

    def _number(self, column: pl.Series) -> float | None:
        if self.numbers == "keep":
            return None
        if self.numbers == "zero":
            return 0.0
        found: Any = column.median() if self.numbers == "median" else column.mean()
        return None if found is None else float(found)

    def state(self) -> State:
        return {"fill": dict(self._fill), "columns": list(self._columns)}

    def restore(self, state: State) -> None:
        self._fill, self._columns = dict(state["fill"]), list(state["columns"])


def _filled(column: pl.Series, value: Any) -> pl.Series:
    # A snapshot keeps few words as an Enum, which cannot take another one.
    plain = column.cast(pl.String) if column.dtype == pl.Enum else column
    return plain.fill_null(value) if plain.has_nulls() else plain


def _most_frequent(column: pl.Series) -> Any:
    """The most frequent value, of equally frequent ones the smallest; None where there is none."""
    counts = column.drop_nulls().value_counts(name="rows")
    if not counts.height:
        return None
    name = next(other for other in counts.columns if other != "rows")
    return counts.sort(["rows", name], descending=[True, False])[name][0]
