"""Brings texts into one form: Unicode, markup, invisible characters, blanks. Works on cells as the source gave them.

The steps are in lode/data/mending/markup.py. To keep rows of certain languages only, see the cleaner `language`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending import markup

_PROSE = ("text", "category", "binary")
_BLANKS = r"\s+"
_LINE_END, _EMPTY_LINES, _FIRST_LINES = r"[^\S\n]*(?:\r\n?|\n)", r"\n{3,}", r"\A(?:[^\S\n]*\n)+"
_MAX_PASSES = 4


class Text(Cleaner):
    """Writes the same text in the same characters, in training and in every request. A cell of which nothing is left becomes missing.

    Cells of numbers and dates get the first two steps only; `html`, `mojibake` and `lower` are for texts and categories.

    Args:
        columns: only these columns; by default every one that the source gave as text.
        form: the Unicode normal form; "NFKC" also makes one of full-width and half-width letters, ligatures and superscripts.
        control: take out control characters and those that nobody sees (zero-width spaces, byte-order marks, direction marks).
        html: take out tags, scripts and styles, resolve entities.
        mojibake: mend UTF-8 that was read in a Western European encoding.
        whitespace: make every run of blanks and line ends one blank, none at the ends; "lines" keeps lines and what they begin with (for
            documents): no blanks at their ends, at most one empty line between two.
        lower: write in lower case.
    """

    scope: Literal["source", "cells", "training"] = "cells"
    on: ClassVar[Literal["raw", "typed"]] = "raw"
    leaves_numbers = True

    def __init__(
        self,
        *,
        columns: list[ColumnName] | None = None,
        form: Literal["NFC", "NFKC", "keep"] = "NFC",
        control: bool = True,
        html: bool = False,
        mojibake: bool = False,
        whitespace: bool | Literal["lines"] = True,
        lower: bool = False,
    ) -> None:
        self.columns = columns
        self.form, self.control, self.html, self.mojibake = form, control, html, mojibake
        self.whitespace, self.lower = whitespace, lower
        self._prose: dict[str, bool] = {}

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Nothing is learnt from rows but which columns there are. Errors: DataError where a named column is none."""
        schema = rows.collect_schema()
        # Without a row number these are the cells of one column, looked at to see what it is.
        for name in self.columns or () if ROW in schema else ():
            if name not in schema:
                known = [other for other in schema if other != ROW]
                raise DataError(
                    f'data.clean text.columns: no input "{name}", found {listed(known)}.{near_miss(name, known)} Name one of them.'
                )
        names = [name for name in schema if name in types and (self.columns is None or name in self.columns)]
        self._prose = {name: types[name] in _PROSE for name in names}

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        texts = [name for name in frame.columns if name in self._prose and _is_text(frame.schema[name])]
        return frame.with_columns(self._cleaned(frame[name], self._prose[name]) for name in texts) if texts else frame

    def _cleaned(self, column: pl.Series, is_prose: bool) -> pl.Series:
        """The column with every different cell cleaned once; the very same column where nothing changes."""
        plain = column.cast(pl.String)
        before = plain.drop_nulls().unique()
        after = self._settled(before, is_prose)
        after = after.set(after == "", None)
        changed = before.ne_missing(after)
        return plain.replace(before.filter(changed), after.filter(changed)) if changed.any() else column

    def _settled(self, texts: pl.Series, is_prose: bool) -> pl.Series:
        """Steps may make work for one another (an entity that stands for an invisible character): until nothing changes."""
        for _ in range(_MAX_PASSES):
            after = self._once(texts, is_prose)
            if after.equals(texts):
                break
            texts = after
        return texts

    def _once(self, texts: pl.Series, is_prose: bool) -> pl.Series:
        if self.mojibake and is_prose:
            texts = markup.with_encoding_mended(texts)
        if self.control:
            texts = markup.without_control(texts)
        if self.html and is_prose:
            texts = markup.without_markup(texts)
        if self.lower and is_prose:
            texts = texts.str.to_lowercase()
        if self.form != "keep":
            texts = texts.str.normalize(self.form)
        if self.whitespace == "lines":
            texts = texts.str.replace_all(_LINE_END, "\n").str.replace_all(_EMPTY_LINES, "\n\n")
            texts = texts.str.replace(_FIRST_LINES, "").str.strip_chars_end()
        elif self.whitespace:
            texts = texts.str.replace_all(_BLANKS, " ").str.strip_chars()
        return texts

    def state(self) -> State:
        return {"prose": dict(self._prose)}

    def restore(self, state: State) -> None:
        self._prose = dict(state["prose"])


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)
