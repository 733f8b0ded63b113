"""Mends cells that people wrote for people: "1,234.50 EUR", "12 %", "(300)", "31/12/2024", "Yes". Works on cells as the source gave them.

How numbers and dates are read: lode/data/mending/written_numbers.py and written_dates.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName
from lode.data import cells
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending import written_dates, written_numbers
from lode.data.mending.fitting import spread_rows
from lode.data.mending.written_numbers import NumberStyle

_TRUE = (
    *("yes", "y", "true", "t", "1", "on", "ja", "oui", "vrai", "wahr", "si", "s\u00ed", "sim", "tak", "evet", "\u0434\u0430"),
    *("\u662f", "\u6709", "\u5bf9", "\u771f", "\u5f00", "\u6210\u7acb", "\u306f\u3044", "\uc608", "\u2713", "\u2714", "\u221a"),
)
_FALSE = (
    *(
        "no",
        "n",
        "false",
        "f",
        "0",
        "off",
        "nein",
        "non",
        "faux",
        "falsch",
        "n\u00e3o",
        "nao",
        "nie",
        "hay\u0131r",
        "\u043d\u0435\u0442",
    ),
    *("\u5426", "\u65e0", "\u9519", "\u5047", "\u5173", "\u4e0d\u662f", "\u6ca1\u6709", "\u3044\u3044\u3048", "\uc544\ub2c8\uc624"),
    *("\u2717", "\u2718", "\u00d7"),
)
_TRUTH = {**dict.fromkeys(_TRUE, "true"), **dict.fromkeys(_FALSE, "false")}
_KINDS = {"number": "a number", "date": "a date", "binary": "yes or no"}


_SIMPLE = r"^[$]?[0-9.,]*$"
"""Nearly all numbers that need mending: nobody must look for other signs in them."""
_MOSTLY_DIFFERENT = 0.3
"""With more different cells than that among the first ones, each cell is mended where it stands."""
_GLANCE_CELLS = 1 << 13
_MOSTLY_OPEN = 0.8


class Types(Cleaner):
    """Reads numbers, dates and yes-or-no cells as a person would; a cell that still is none becomes missing and is counted.

    Numbers: thousands separators, currency signs, percent, units ("12 oz", "1.2 kg" beside "300 g"), multipliers ("1.5 million"), brackets
    or a trailing minus for negatives, simple fractions, full-width digits. Dates: the common orders, names and marks, times, seconds and
    milliseconds since 1970. Yes or no: "Yes", "y", "TRUE", "1", "on", and the words of other languages, become true and false, where a
    column holds nothing else.

    Args:
        columns: only these columns; by default every number, date and binary column.
        decimal: the mark before the decimals: "." (1,234.5) or "," (1.234,5).
        percent: what 12% is: "share" (0.12), "number" (12), or "auto": 12 where the column's plain numbers are as large, else 0.12.
        dates: how 03/04/2024 is read: "day_first", "month_first", or "auto": as the column's cells that leave no doubt say; without
            any, such cells stay as they are.
    """

    scope: Literal["source", "cells", "training"] = "cells"
    on: ClassVar[Literal["raw", "typed"]] = "raw"

    def __init__(
        self,
        *,
        columns: list[ColumnName] | None = None,
        decimal: Literal[".", ","] = ".",
        percent: Literal["auto", "share", "number"] = "auto",
        dates: Literal["auto", "day_first", "month_first"] = "auto",
    ) -> None:
        self.columns, self.decimal, self.percent, self.dates = columns, decimal, percent, dates
        self.leaves_numbers = decimal == "."
        self.notes: list[str] = []
        self._words: dict[str, str] = {}
        self._styles: dict[str, NumberStyle] = {}
        self._day_first: dict[str, bool | None] = {}

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Learn how each column is written, from slices of the rows. Errors: DataError where a named column is not there."""
        schema = rows.collect_schema()
        self._require([name for name in schema.names() if name != ROW])
        self._words, self._styles, self._day_first, self.notes = {}, {}, {}, []
        chosen = {name: word for name, word in types.items() if name in schema and (self.columns is None or name in self.columns)}
        texts = [name for name, word in chosen.items() if word in ("number", "date") and _is_text(schema[name])]
        look = spread_rows(rows, texts) if texts else pl.DataFrame()
        for name, word in chosen.items():
            if word == "number":
                self._styles[name] = self._number_style(look[name] if name in texts else None)
            elif word == "date":
                self._day_first[name] = self._order(rows, name, look[name] if name in texts else None)
            elif word != "binary" or not _is_truth(rows, name, schema[name]):
                continue
            self._words[name] = word
        self._take_notes()

    def _take_notes(self) -> None:
        """What was decided for a column by looking at its cells."""
        for name, style in self._styles.items():
            if style.percent == "number" and self.percent == "auto":
                self.notes.append(f"{name}: 5% is read as 5, for its plain numbers are as large (`percent: share` makes it 0.05).")
            if style.unit:
                self.notes.append(f"{name}: numbers are in {style.unit}; other units of the same kind are turned into it.")
        for name, day_first in self._day_first.items():
            if day_first is not None and self.dates == "auto":
                first, other = ("day", "month_first") if day_first else ("month", "day_first")
                self.notes.append(f"{name}: 03/04/2024 is read {first} first, as its other cells are (else `dates: {other}`).")

    def _require(self, known: list[str]) -> None:
        for name in self.columns or ():
            if name not in known:
                raise DataError(
                    f'data.clean types: no column "{name}", found {listed(known)}.{near_miss(name, known)} Name one of them.'
                )

    def _number_style(self, look: pl.Series | None) -> NumberStyle:
        default = NumberStyle(self.decimal, "share" if self.percent == "auto" else self.percent)
        if look is None:
            return default
        texts = look.cast(pl.String).drop_nulls()
        if self.decimal == "." and not cells.numbers(texts).has_nulls():
            return default
        return written_numbers.learn(texts.unique(maintain_order=True), self.decimal, self.percent)

    def _order(self, rows: pl.LazyFrame, name: str, look: pl.Series | None) -> bool | None:
        """Whether the day comes first; the whole column is asked where the slices do not say."""
        if self.dates != "auto":
            return self.dates == "day_first"
        if look is None:
            return None
        seen = written_dates.evidence(look.cast(pl.String).drop_nulls().unique())
        if seen.open and seen.verdict is None and not seen.day_first and not seen.month_first:
            texts = rows.select(pl.col(name).cast(pl.String).drop_nulls().unique()).collect(engine="streaming").to_series()
            seen = written_dates.evidence(texts)
        return seen.verdict

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        mended = []
        for name in frame.columns:
            if name in self._words and _is_text(frame.schema[name]):
                column = frame[name]
                after = self._mended(column)
                if after is not column:
                    mended.append(after)
        return frame.with_columns(mended) if mended else frame

    def _mended(self, column: pl.Series) -> pl.Series:
        """The column with every different cell that needs it mended once; the very same one where none does."""
        texts = column if column.dtype == pl.String else column.cast(pl.String)
        open_cells = self._open(texts)
        if not open_cells.any():
            return column
        # Cells that need nothing come back as they are: they are left out only where that leaves little to look at.
        is_whole = int(open_cells.sum()) > _MOSTLY_OPEN * len(texts)
        before = texts if is_whole else texts.filter(open_cells)
        new = self._read_each(before)
        if not before.ne_missing(new).any():
            return column
        # `scatter` works in place, so on a copy of the handle.
        return new if is_whole else texts.clone().scatter(open_cells.arg_true(), new)

    def _read_each(self, texts: pl.Series) -> pl.Series:
        """What each cell becomes; where few are different, every one of these is read once."""
        glance = texts.head(_GLANCE_CELLS)
        if glance.n_unique() > _MOSTLY_DIFFERENT * len(glance):
            return self._read(texts.name, texts).rename(texts.name)
        before = texts.unique()
        after = self._read(texts.name, before)
        changed = before.ne_missing(after)
        return texts.replace(before.filter(changed), after.filter(changed)) if changed.any() else texts

    def _open(self, texts: pl.Series) -> pl.Series:
        """Which cells must be looked at: numbers as they stand need nothing."""
        known = texts.is_not_null()
        if self._words[texts.name] != "number" or self.decimal == ",":
            return known
        return known & ~texts.cast(pl.Float64, strict=False).is_finite().fill_null(False)

    def _read(self, name: str, before: pl.Series) -> pl.Series:
        word = self._words[name]
        if word == "number":
            return written_numbers.mended(before, self._styles[name])
        if word == "date":
            return written_dates.mended(before, self._day_first[name], always=self.dates == "month_first")
        return _truths(before)

    def why(self, changed: pl.DataFrame) -> pl.Series:
        """What the cell was: no number at all, or a number with a percent sign, a unit, marks; a date in which order."""
        others = [name for name, word in self._words.items() if word != "number"]
        simple = changed["before"].str.contains(_SIMPLE) & changed["after"].is_not_null()
        if others:
            simple &= ~changed["column"].is_in(others)
        has_dollar = changed["before"].str.starts_with("$").fill_null(False).to_numpy()
        said = pl.Series("why", ["marks of a number", "currency"]).gather(has_dollar.astype(np.uint8))
        return said if simple.all() else said.scatter((~simple).arg_true(), self._reasons(changed.filter(~simple)))

    def _reasons(self, changed: pl.DataFrame) -> pl.Series:
        word = pl.col("column").replace_strict(self._words, default="binary", return_dtype=pl.String)
        order = {name: _order_name(first) for name, first in self._day_first.items()} or {"": ""}
        units = {name: f"in {style.unit}" if style.unit else "unit" for name, style in self._styles.items()} or {"": ""}
        before = pl.col("before")
        number = (
            pl.when(before.str.contains("[%\u2030\uff05]")).then(pl.lit("percent"))
            .when(before.str.contains(written_numbers.CURRENCY)).then(pl.lit("currency"))
            .when(before.str.contains(r"[^\W\d_]")).then(pl.col("column").replace_strict(units, default="unit"))
            .otherwise(pl.lit("marks of a number"))
        )  # fmt: skip
        read = (
            pl.when(word == "number").then(number).when(word == "date").then(pl.col("column").replace_strict(order, default="date"))
        )
        lost = pl.lit("not ") + word.replace_strict(_KINDS, default="readable")
        return changed.select(
            pl.when(pl.col("after").is_null()).then(lost).otherwise(read.otherwise(pl.lit("yes or no")))
        ).to_series()

    def state(self) -> State:
        styles: dict[str, Any] = {name: asdict(style) for name, style in self._styles.items()}
        return {"words": dict(self._words), "styles": styles, "day_first": dict(self._day_first)}

    def restore(self, state: State) -> None:
        """Artifacts of format 1 made before 0.2 have the words only: their numbers are read as they were."""
        self._words = dict(state["words"])
        default = NumberStyle(self.decimal, "share")
        styles = {name: NumberStyle(**style) for name, style in state.get("styles", {}).items()}
        self._styles = {name: styles.get(name, default) for name, word in self._words.items() if word == "number"}
        order = state.get("day_first", {})
        self._day_first = {name: order.get(name) for name, word in self._words.items() if word == "date"}


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical)


def _order_name(day_first: bool | None) -> str:
    return {True: "date, day first", False: "date, month first", None: "date"}[day_first]


def _truths(texts: pl.Series) -> pl.Series:
    words = texts.str.normalize("NFKC").str.strip_chars(cells.BLANKS).str.to_lowercase()
    return words.replace_strict(_TRUTH, default=None, return_dtype=pl.String)


def _is_truth(rows: pl.LazyFrame, name: str, dtype: pl.DataType) -> bool:
    """Whether every cell is a way to say yes or no."""
    if not _is_text(dtype):
        return False
    known = rows.select(pl.col(name).cast(pl.String).drop_nulls().unique()).collect(engine="streaming").to_series()
    return len(known) > 0 and not _truths(known).has_nulls()
