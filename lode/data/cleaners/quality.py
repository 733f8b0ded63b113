"""Drops documents that are no good text to learn from, by the simple rules of published corpora. Rules: lode/data/mending/prose.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName, Range
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending import prose

_GONE = {"row": pl.UInt64, "why": pl.String}
_BATCH_ROWS = 8_192
_PIECE_BYTES = 1 << 24


class Quality(Cleaner):
    """Drops a row whose text breaks a rule; the changes say which rule, and with what figure. A rule that is null is off.

    The rules and their bounds are those of Gopher (Rae 2021, arXiv 2112.11446, table A1) and FineWeb (Penedo 2024, arXiv 2406.17557,
    section 3.6); C4's (Raffel 2019, arXiv 1910.10683) are off: `banned: ["lorem ipsum", "{"]`. Texts that are mostly Chinese, Japanese or
    Thai have no blanks between words: their length and letters are counted in characters, and no rule about words or short lines is asked.

    Args:
        columns: only these columns are looked at; by default all texts. A row stays only where each of them is good.
        rows: "all" before the split, "training" of the training split only (figures then count the bad texts of the test too).
        min_words: Gopher.
        max_words: Gopher.
        min_mean_word: least mean length of the words, in characters (Gopher).
        max_mean_word: greatest mean length of the words (Gopher).
        max_symbols: most "#", or most "...", for each word (Gopher).
        max_bullets: share of lines that begin with a bullet (Gopher).
        max_ellipses: share of lines that end with "..." (Gopher).
        min_alphabetic: share of words with a letter (Gopher).
        min_stop_words: how many different ones of the, be, to, of, and, that, have, with (Gopher: 2; of English only, so off).
        max_repeated_lines: share of lines that stood before (Gopher).
        max_repeated_line_chars: share of characters in lines that stood before (Gopher 0.2, FineWeb 0.1).
        max_top_bigram: share of characters in the most frequent pair of words (Gopher).
        max_repeated_grams: share of characters in runs of five words that stood before (Gopher).
        min_ended_lines: share of lines that end with a sign that ends a sentence (FineWeb).
        max_short_lines: share of lines of at most 30 characters (FineWeb).
        banned: texts with one of these words go, in whatever case of letters.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"

    def __init__(
        self,
        *,
        columns: list[ColumnName] | None = None,
        rows: Literal["all", "training"] = "all",
        min_words: Annotated[int, Range(0)] | None = 50,
        max_words: Annotated[int, Range(0)] | None = 100_000,
        min_mean_word: Annotated[float, Range(0)] | None = 3.0,
        max_mean_word: Annotated[float, Range(0)] | None = 10.0,
        max_symbols: Annotated[float, Range(0)] | None = 0.1,
        max_bullets: Annotated[float, Range(0, 1)] | None = 0.9,
        max_ellipses: Annotated[float, Range(0, 1)] | None = 0.3,
        min_alphabetic: Annotated[float, Range(0, 1)] | None = 0.8,
        min_stop_words: Annotated[int, Range(0, 8)] | None = None,
        max_repeated_lines: Annotated[float, Range(0, 1)] | None = 0.3,
        max_repeated_line_chars: Annotated[float, Range(0, 1)] | None = 0.1,
        max_top_bigram: Annotated[float, Range(0, 1)] | None = 0.2,
        max_repeated_grams: Annotated[float, Range(0, 1)] | None = 0.15,
        min_ended_lines: Annotated[float, Range(0, 1)] | None = 0.12,
        max_short_lines: Annotated[float, Range(0, 1)] | None = 0.67,
        banned: list[str] | None = None,
    ) -> None:
        self.columns, self.scope = columns, "training" if rows == "training" else "source"
        self.limits = prose.Limits(
            min_words=min_words, max_words=max_words, min_mean_word=min_mean_word, max_mean_word=max_mean_word, max_symbols=max_symbols,
            max_bullets=max_bullets, max_ellipses=max_ellipses, min_alphabetic=min_alphabetic, min_stop_words=min_stop_words,
            max_repeated_lines=max_repeated_lines, max_repeated_line_chars=max_repeated_line_chars, max_top_bigram=max_top_bigram,
            max_repeated_grams=max_repeated_grams, min_ended_lines=min_ended_lines, max_short_lines=max_short_lines,
            banned=tuple(banned or ()),
        )  # fmt: skip
        self.notes: list[str] = []
        self._gone = pl.DataFrame(schema=_GONE)

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Find the rows that go. Errors: DataError for a column that is none, or where there is no text."""
        have = [name for name in rows.collect_schema().names() if name != ROW]
        for name in self.columns or ():
            if name not in have:
                raise DataError(
                    f'data.clean quality.columns: no column "{name}", found {listed(have)}.{near_miss(name, have)} Name one of them.'
                )
        columns = [str(name) for name in self.columns or (name for name in have if types.get(name) == "text")]
        if not columns:
            raise DataError(f"data.clean quality: no input is a text, found {listed(have)}. Name one with `columns`.")
        batches = rows.select(ROW, *columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)
        found = [self._bad(piece, columns) for batch in batches for piece in _pieces(batch)]
        self._gone = pl.concat([pl.DataFrame(schema=_GONE), *found]).sort("row")
        self.notes = _counted(self._gone["why"])

    def _bad(self, frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
        why = pl.select(pl.coalesce(prose.why_bad(frame[name], self.limits) for name in columns).alias("why")).to_series()
        return pl.DataFrame({"row": frame[ROW].cast(pl.UInt64), "why": why}).drop_nulls()

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        if ROW not in frame.columns or not self._gone.height:
            return frame
        return frame.filter(~pl.col(ROW).is_in(self._gone["row"].implode()))

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        return changed.select("row").join(self._gone, on="row", how="left", maintain_order="left")["why"].fill_null("breaks a rule")

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing: requests are not dropped."""


def _pieces(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Some megabytes of text at a time: figures of words take many times that."""
    rows = int(frame.height * _PIECE_BYTES / max(frame.estimated_size(), 1))
    yield from frame.iter_slices(max(1, rows))


def _counted(reasons: pl.Series) -> list[str]:
    """How many rows each rule takes, most first."""
    counts = Counter(reason.split(" (")[0] for reason in reasons)
    said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return [f"why: {said}."] if said else []
