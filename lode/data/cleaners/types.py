"""Mends cells that people wrote for people: "1,234.50 EUR", "12 %", "(300)", "Yes". Works on cells as the source gave them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnName, Component
from lode.data import cells
from lode.data.contracts import Cleaner, State

_CURRENCY = r"(?i)[$\u20ac\u00a3\u00a5\u20b9\uffe5\u5143]|\b(?:usd|eur|gbp|cny|rmb|jpy|chf|inr|hkd|aud|cad)\b"
_GAPS = r"[\s\u00a0\u202f'_]"
_GROUPED = {
    ".": r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?%?$",
    ",": r"^[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d*)?%?$",
}
"""Per decimal mark: numbers whose marks must be changed before they can be read."""

_TRUTH = {
    **dict.fromkeys(("yes", "y", "true", "t", "1", "on"), "true"),
    **dict.fromkeys(("no", "n", "false", "f", "0", "off"), "false"),
}


class Types(Cleaner):
    """Reads numbers, dates and yes-or-no cells as a person would; a cell that still is none becomes missing and is counted.

    Numbers: thousands separators, currency signs, percent (12% is 0.12), brackets or a trailing minus for negatives.
    Yes or no: "Yes", "y", "TRUE", "1", "on" are one word, where a column holds nothing else.

    Args:
        columns: only these columns; by default every number, date and binary column.
        decimal: the mark before the decimals: "." (1,234.5) or "," (1.234,5).
    """

    scope: Literal["source", "cells", "training"] = "cells"
    on: ClassVar[Literal["raw", "typed"]] = "raw"

    def __init__(self, *, columns: list[ColumnName] | None = None, decimal: Literal[".", ","] = ".") -> None:
        self.columns, self.decimal = columns, decimal
        self._words: dict[str, str] = {}

    def fit(self, frame: pl.DataFrame, types: Mapping[str, str]) -> None:
        self._words = {}
        for name in frame.columns:
            word = types.get(name)
            if self.columns is not None and name not in self.columns:
                continue
            if word in ("number", "date") or (word == "binary" and _is_truth(frame[name])):
                self._words[name] = word

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        texts = [name for name in frame.columns if name in self._words and frame[name].dtype == pl.String]
        return frame.with_columns(self._mended(frame[name], self._words[name]) for name in texts) if texts else frame

    def _mended(self, column: pl.Series, word: str) -> pl.Series:
        """The column with every different cell mended once."""
        before = column.drop_nulls().unique()
        after = {"number": self._numbers, "date": _dates, "binary": _truths}[word](before)
        changed = before.ne_missing(after)
        return column.replace(before.filter(changed), after.filter(changed)) if changed.any() else column

    def _numbers(self, texts: pl.Series) -> pl.Series:
        text = pl.col("text").str.strip_chars(cells.BLANKS).str.replace_all(_CURRENCY, "").str.replace_all(_GAPS, "")
        text = text.str.replace(r"^\((.+)\)$", "-$1").str.replace(r"^([^-]+)-$", "-$1")
        text = pl.when(text.str.contains(_GROUPED[self.decimal])).then(self._without_groups(text)).otherwise(text)
        percent = text.str.ends_with("%")
        share = (text.str.strip_suffix("%").cast(pl.Float64, strict=False) / 100).round_sig_figs(15).cast(pl.String)
        mended = texts.to_frame("text").select(pl.when(percent).then(share).otherwise(text)).to_series()
        mended = mended.zip_with(cells.numbers(mended).is_not_null(), pl.Series([None], dtype=pl.String))
        if self.decimal == ",":
            return mended
        # A cell that is a number as it stands stays as it stands, so that nothing is reported that was not needed.
        return texts.zip_with(cells.numbers(texts).is_not_null(), mended)

    def _without_groups(self, text: pl.Expr) -> pl.Expr:
        if self.decimal == ".":
            return text.str.replace_all(",", "", literal=True)
        return text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)

    def state(self) -> State:
        return {"words": dict(self._words)}

    def restore(self, state: State) -> None:
        self._words = dict(state["words"])


def _dates(texts: pl.Series) -> pl.Series:
    parsed = REGISTRIES["feature"].create(Component("date")).parse(texts)
    return texts.zip_with(parsed.is_not_null(), pl.Series([None], dtype=pl.String))


def _truths(texts: pl.Series) -> pl.Series:
    return texts.str.strip_chars(cells.BLANKS).str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.String)


def _is_truth(column: pl.Series) -> bool:
    """Whether every cell is a way to say yes or no."""
    if column.dtype != pl.String:
        return False
    known = column.drop_nulls().unique()
    return len(known) > 0 and not _truths(known).has_nulls()
