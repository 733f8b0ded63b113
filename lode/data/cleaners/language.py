"""Keeps rows of certain languages only. py3langid tells 140 of them from a text's bytes, without a network.

Runs in Python, about 0.3 ms for a short text: each different one once. Read lode/data/contracts.py first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import polars as pl
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName, Range
from lode.data.contracts import ROW, Cleaner, State

_MAX_CHARS = 1_000


@functools.cache
def _identifier() -> LanguageIdentifier:
    """Its model, read once per process."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class Language(Cleaner):
    """Drops rows whose texts are in another language. A row stays where no text of it is surely of another one.

    Args:
        keep: the languages to keep, by their two letters (ISO 639-1): en, zh, de.
        columns: only these columns are looked at; by default all texts.
        rows: "training" drops rows of the training split only, "all" before the split (the test then says nothing of other languages).
        min_chars: shorter texts are of any language.
        sure: a row is dropped only where the language is at least so probable.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"

    def __init__(
        self,
        *,
        keep: list[str],
        columns: list[ColumnName] | None = None,
        rows: Literal["training", "all"] = "training",
        min_chars: Annotated[int, Range(1)] = 20,
        sure: Annotated[float, Range(0, 1)] = 0.8,
    ) -> None:
        self.keep, self.columns, self.rows = keep, columns, rows
        self.min_chars, self.sure = min_chars, sure
        self.scope = "training" if rows == "training" else "source"
        self._columns: list[str] = []

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Errors: DataError for a language that is not known, a column that is none, or where there is no text."""
        known = sorted(map(str, _identifier().labels))
        for language in self.keep:
            if language not in known:
                raise DataError(
                    f'data.clean language.keep: found "{language}", allowed: two letters such as en, zh, de.'
                    f"{near_miss(language, known)} Name languages by ISO 639-1."
                )
        have = [name for name in rows.collect_schema().names() if name != ROW]
        for name in self.columns or ():
            if name not in have:
                raise DataError(
                    f'data.clean language.columns: no column "{name}", found {listed(have)}.{near_miss(name, have)} Name one of them.'
                )
        self._columns = list(self.columns or (name for name in have if types.get(name) == "text"))
        if not self._columns:
            raise DataError(f"data.clean language: no input is a text, found {listed(have)}. Name one with `columns`.")

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        columns = [name for name in self._columns if name in frame.columns]
        foreign = [self._language(frame[name]).is_not_null() for name in columns]
        return frame.filter(~pl.any_horizontal(foreign)) if foreign and frame.height else frame

    def _language(self, column: pl.Series) -> pl.Series:
        """The language of each cell that is surely of another one than those to keep; null for the others."""
        texts = column.cast(pl.String).str.head(_MAX_CHARS)
        different = texts.filter(texts.str.len_chars() >= self.min_chars).unique(maintain_order=True)
        found = pl.Series([self._foreign(text) for text in different], dtype=pl.String)
        return texts.replace_strict(different, found, default=None, return_dtype=pl.String)

    def _foreign(self, text: str) -> str | None:
        language, share = _identifier().classify(text)
        return str(language) if language not in self.keep and share >= self.sure else None

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        return pl.Series([f"not in {listed(self.keep)}"] * changed.height, dtype=pl.String)

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing: requests are not dropped."""
