"""Texts: token codes for networks, weighted terms (TF-IDF) for baselines. Tokens are cut by polars, in chunks of rows.

The term arithmetic is in lode/data/terms.py; codes of words in lode/data/cells.py. Read lode/data/contracts.py first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.terms import Terms, Tokens

_CHARS_PER_TOKEN = 32
_CHUNK_ROWS = 20_000
_SAMPLE_ROWS = 10_000
_TERM_ROWS = 200_000
_CJK_SHARE = 0.2
_MAX_WORD_BYTES = 128
_NUM_SPECIAL = 2  # 0 padding, 1 unknown

_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_LETTERS = r"\p{L}\p{M}\p{N}_"
_PATTERNS = {
    "word": rf"[{_LETTERS}]+(?:['\u2019][{_LETTERS}]+)*|[^\s{_LETTERS}]",
    "character": r"\S",
}
# The same on ASCII text, where both engines agree on letters, blanks and lower case.
_ASCII_PATTERNS = {
    "word": re.compile(r"[a-z0-9_]+(?:'[a-z0-9_]+)*|[^\sa-z0-9_]", re.ASCII),
    "character": re.compile(r"\S", re.ASCII),
}


class Text(Feature):
    """Free text. Lower-cased; cut into words and punctuation, or into characters where it is Chinese or Japanese.

    Only the first 32 * length characters of a cell are looked at. Code 0 is padding, 1 an unknown token, 2 the most frequent one.

    Args:
        length: so many tokens of a text are kept for networks.
        tokens: "word" or "character"; without it, the training texts decide by their share of Chinese and Japanese characters.
        vocabulary: so many different tokens are known, the most frequent ones.
        terms: so many terms (1 or 2 words, 1 to 3 characters) are weighted for baselines, the most frequent ones.
    """

    kind: ClassVar[Literal["string"]] = "string"
    expects: ClassVar[str] = "a text"

    def __init__(
        self,
        *,
        length: Annotated[int, Range(1, 8192)] = 256,
        tokens: Literal["word", "character"] | None = None,
        vocabulary: Annotated[int, Range(16, 1_000_000)] = 20_000,
        terms: Annotated[int, Range(16, 1_000_000)] = 20_000,
    ) -> None:
        self.length = length
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.terms = terms
        self._unit: str = tokens or "word"
        self._longest = 1
        self._codes = cells.WordCodes([])
        self._terms = Terms(np.zeros(0, np.int64), np.zeros(0), 1)

    def parse(self, column: pl.Series) -> pl.Series:
        dtype = column.dtype
        if dtype == pl.Object:
            column = cells.object_strings(column)
        elif dtype == pl.Binary:
            column = cells.utf8(column)
        elif dtype.is_nested():
            return pl.Series(column.name, [None] * len(column), dtype=pl.String)
        elif dtype != pl.String:
            column = column.cast(pl.String)
        if len(column) <= cells.FEW_ROWS:
            texts = column.to_list()
            blanks = [text is not None and not text.strip(cells.BLANKS) for text in texts]
            if not any(blanks):
                return column
            texts = [None if no else text for text, no in zip(texts, blanks, strict=True)]
            return pl.Series(column.name, texts, dtype=pl.String)
        blank = column.str.strip_chars(cells.BLANKS) == ""
        return column.zip_with(~blank.fill_null(False), pl.Series([None], dtype=pl.String)) if blank.any() else column

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        self._unit = self.tokens or _unit(column)
        words, self._longest = self._count(column)
        self._codes = cells.WordCodes(words)
        step = -(-len(column) // _TERM_ROWS) or 1
        sample = column.gather_every(step)
        rows = (self._tokens(chunk) for chunk in _chunks(sample))
        self._terms = Terms.fit(rows, base=self._base, max_grams=self._max_grams, max_terms=self.terms)

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        array = np.zeros((len(column), self._longest), dtype=np.int32)
        start = 0
        for chunk in _chunks(column):
            self._pad(self._tokens(chunk), array[start : start + len(chunk)])
            start += len(chunk)
        return array

    def _pad(self, tokens: Tokens, array: np.ndarray) -> None:
        """Write codes into the rows of int32 (N, L), which is all 0."""
        kept = np.minimum(tokens.lengths, array.shape[1])
        rows = np.repeat(np.arange(len(kept)), kept)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(kept) - kept, kept)
        starts = np.cumsum(tokens.lengths) - tokens.lengths
        codes = tokens.codes[np.repeat(starts, kept) + places]
        known = (codes > 0) & (codes <= self.vocabulary)
        array[rows, places] = np.where(known, codes + np.int32(_NUM_SPECIAL - 1), np.int32(1))

    def inverse(self, array: np.ndarray) -> pl.Series:
        """The known tokens, joined; an unknown one is a replacement character. Case and spacing are not kept."""
        words = ["", "\ufffd", *self._codes.words[: self.vocabulary]]
        glue = " " if self._unit == "word" else ""
        texts = [glue.join(words[code] for code in row if code) for row in array.tolist()]
        return pl.Series([text or None for text in texts], dtype=pl.String)

    @property
    def spec(self) -> TensorSpec:
        cardinality = min(len(self._codes.words), self.vocabulary) + _NUM_SPECIAL
        return TensorSpec("int32", (self._longest,), ragged=(0,), cardinality=cardinality)

    @property
    def flat_spec(self) -> FlatSpec:
        glue = " " if self._unit == "word" else ""
        names = self._terms.names(self._codes.words, glue)
        return FlatSpec(tuple(names), (-1,) * len(names))

    def flat(self, column: pl.Series) -> Any:
        return self._terms.weigh([self._tokens(chunk) for chunk in _chunks(column)])

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        facts = {"unit": self._unit, "longest": self._longest, "words": list(self._codes.words)}
        return {**facts, "term_keys": self._terms.keys, "term_weights": self._terms.weights}

    def restore(self, state: State) -> None:
        self._unit, self._longest = str(state["unit"]), int(state["longest"])
        self._codes = cells.WordCodes(state["words"])
        keys, weights = np.asarray(state["term_keys"], np.int64), np.asarray(state["term_weights"], np.float64)
        self._terms = Terms(keys, weights, self._base)

    @property
    def _base(self) -> int:
        return len(self._codes.words) + 1

    @property
    def _max_grams(self) -> int:
        return 2 if self._unit == "word" else 3

    def _count(self, column: pl.Series) -> tuple[list[str], int]:
        """The known words, most frequent first, and the longest row in tokens (1 to `length`)."""
        longest, parts = 1, []
        for chunk in _chunks(column):
            lists = self._cut(chunk)
            longest = max(longest, int(lists.list.len().fill_null(0).to_numpy().max(initial=0)))
            parts.append(_flattened(lists).rename("word").value_counts(name="rows"))
            if len(parts) > 8:
                parts = [_added(parts)]
        counts = _added(parts) if parts else pl.DataFrame(schema={"word": pl.String, "rows": pl.UInt32})
        counts = counts.filter(pl.col("word").str.len_bytes().is_between(1, _MAX_WORD_BYTES))
        ranked = counts.sort(["rows", "word"], descending=[True, False])
        return ranked["word"].head(max(self.vocabulary, self.terms)).to_list(), min(longest, self.length)

    def _cut(self, column: pl.Series) -> pl.Series:
        """List(String) tokens of each cell; null or empty where it has none."""
        text = pl.col(column.name).str.head(self.length * _CHARS_PER_TOKEN).str.to_lowercase()
        return column.to_frame().select(text.str.extract_all(_PATTERNS[self._unit])).to_series()

    def _tokens(self, column: pl.Series) -> Tokens:
        if len(column) <= cells.FEW_ROWS:
            return self._few_tokens(column)
        lists = self._cut(column)
        lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
        return Tokens(self._codes.codes(_flattened(lists)), lengths)

    def _few_tokens(self, column: pl.Series) -> Tokens:
        texts = column.to_list()
        if all(text is None or text.isascii() for text in texts):
            pattern, limit = _ASCII_PATTERNS[self._unit], self.length * _CHARS_PER_TOKEN
            rows = [pattern.findall(text[:limit].lower()) if text else () for text in texts]
        else:
            rows = [row or () for row in self._cut(column).to_list()]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        table = self._codes.table
        codes = np.fromiter((table.get(word, 0) for row in rows for word in row), np.int32, int(lengths.sum()))
        return Tokens(codes, lengths)


def _chunks(column: pl.Series) -> Iterator[pl.Series]:
    """Slices of bounded size: the tokens of a million texts do not fit in memory."""
    for start in range(0, len(column), _CHUNK_ROWS):
        yield column.slice(start, _CHUNK_ROWS)


def _flattened(lists: pl.Series) -> pl.Series:
    """All tokens one after another; rows without tokens give none."""
    return lists.filter(lists.list.len() > 0).explode()


def _added(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("word").agg(pl.col("rows").sum())


def _unit(column: pl.Series) -> str:
    """Either "character", where a fifth of what the first texts hold is Chinese or Japanese, or "word"."""
    texts = column.drop_nulls().head(_SAMPLE_ROWS).str.head(1_000)
    num_chars, num_cjk = (int(texts.str.count_matches(pattern).to_numpy().sum()) for pattern in (r"\S", _CJK))
    return "character" if num_chars and num_cjk >= _CJK_SHARE * num_chars else "word"
