"""Texts to token codes: words, characters, bytes, byte pairs. Used by features/text.py; byte pairs are in lode/data/encoding/byte_pairs.py.

Every tokenizer has the same methods. Code 0 is an unknown token; a text never gets padding here.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from lode.data import cells
from lode.data.contracts import State
from lode.data.encoding.terms import Tokens

_CHUNK_ROWS = 20_000
_MAX_WORD_BYTES = 128
_LETTERS = r"\p{L}\p{M}\p{N}_"
_PATTERNS = {
    "word": rf"[{_LETTERS}]+(?:['\u2019][{_LETTERS}]+)*|[^\s{_LETTERS}]",
    "character": r"\S",
    "space": r"\S+",
    "letter": r"\S|\s+",
}
# The same on ASCII text, where both engines agree on letters, blanks and lower case.
_ASCII_PATTERNS = {
    "word": re.compile(r"[a-z0-9_]+(?:'[a-z0-9_]+)*|[^\sa-z0-9_]", re.ASCII),
    "character": re.compile(r"\S", re.ASCII),
    "space": re.compile(r"\S+", re.ASCII),
    "letter": re.compile(r"\S|\s+", re.ASCII),
}


class Tokenizer(ABC):
    """Cuts texts into tokens with codes from 1.

    max_chars: so many characters of a text are looked at; it is lower-cased first. glue: what stands between the tokens of a term's name.
    max_grams: how many tokens make a term at most.
    """

    glue: str = " "
    max_grams: int = 2

    def __init__(self, max_chars: int) -> None:
        self.max_chars = max_chars

    @abstractmethod
    def fit(self, column: pl.Series, size: int) -> int:
        """Learn at most `size` tokens from the training texts; returns how many tokens the longest text has."""

    @abstractmethod
    def tokens(self, column: pl.Series) -> Tokens:
        """The codes of a chunk of texts."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many codes there are, 0 left out."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """A distinct name for each code, from code 1."""

    @abstractmethod
    def text(self, codes: Sequence[int]) -> str:
        """A text from codes, as far as they keep it; 0 becomes a replacement character."""

    @abstractmethod
    def state(self) -> State:
        """What `fit` learned."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take over what `state` gave."""

    def _lowered(self, column: pl.Series) -> pl.Series:
        text = pl.col(column.name).str.head(self.max_chars).str.to_lowercase()
        return column.to_frame().select(text).to_series()


class Words(Tokenizer):
    """Words and punctuation, or characters; those that training has most often are known, the most frequent first.

    unit: "word", "character", "space", or "letter", which counts the blanks between words too. max_grams: by the unit if left open.
    """

    def __init__(self, unit: str, max_chars: int, max_grams: int | None = None) -> None:
        super().__init__(max_chars)
        self.unit = unit
        self.glue, usual = ("", 3) if unit in ("character", "letter") else (" ", 2)
        self.max_grams = usual if max_grams is None else max_grams
        self._codes = cells.WordCodes([])

    def fit(self, column: pl.Series, size: int) -> int:
        longest, parts = 0, []
        for chunk in chunks(column):
            lists = self.cut(chunk)
            longest = max(longest, int(lists.list.len().fill_null(0).to_numpy().max(initial=0)))
            parts.append(_flattened(lists).rename("word").value_counts(name="rows"))
            if len(parts) > 8:
                parts = [_added(parts)]
        counts = _added(parts) if parts else pl.DataFrame(schema={"word": pl.String, "rows": pl.UInt32})
        counts = counts.filter(pl.col("word").str.len_bytes().is_between(1, _MAX_WORD_BYTES))
        ranked = counts.sort(["rows", "word"], descending=[True, False])
        self._codes = cells.WordCodes(ranked["word"].head(size).to_list())
        return longest

    def cut(self, column: pl.Series) -> pl.Series:
        """List(String) tokens of each cell; null or empty where it has none."""
        text = pl.col(column.name).str.head(self.max_chars).str.to_lowercase()
        return column.to_frame().select(text.str.extract_all(_PATTERNS[self.unit])).to_series()

    def tokens(self, column: pl.Series) -> Tokens:
        if len(column) <= cells.FEW_ROWS:
            return self._few_tokens(column)
        lists = self.cut(column)
        lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
        return Tokens(self._codes.codes(_flattened(lists)), lengths)

    def _few_tokens(self, column: pl.Series) -> Tokens:
        texts = column.to_list()
        if all(text is None or text.isascii() for text in texts):
            pattern, limit = _ASCII_PATTERNS[self.unit], self.max_chars
            rows = [pattern.findall(text[:limit].lower()) if text else () for text in texts]
        else:
            rows = [row or () for row in self.cut(column).to_list()]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        table = self._codes.table
        codes = np.fromiter((table.get(word, 0) for row in rows for word in row), np.int32, int(lengths.sum()))
        return Tokens(codes, lengths)

    @property
    def count(self) -> int:
        return len(self._codes.words)

    @property
    def names(self) -> Sequence[str]:
        return self._codes.words

    def text(self, codes: Sequence[int]) -> str:
        words = self._codes.words
        return self.glue.join(words[code - 1] if code else "\ufffd" for code in codes)

    def state(self) -> State:
        return {"words": list(self._codes.words)}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])


class Bytes(Tokenizer):
    """The bytes of UTF-8, as in ByT5 (Xue 2021, arXiv 2105.13626): nothing to learn, nothing unknown, in any script."""

    max_grams = 3

    def fit(self, column: pl.Series, size: int) -> int:
        return max((int(self._lowered(chunk).str.len_bytes().max() or 0) for chunk in chunks(column)), default=0)  # type: ignore[arg-type]

    def tokens(self, column: pl.Series) -> Tokens:
        lowered = self._lowered(column)
        lengths = lowered.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
        content = np.frombuffer("".join(lowered.drop_nulls().to_list()).encode(), dtype=np.uint8)
        return Tokens(content.astype(np.int32) + np.int32(1), lengths)

    @property
    def count(self) -> int:
        return 256

    @property
    def names(self) -> Sequence[str]:
        return [f"{byte:02x}" for byte in range(256)]

    def text(self, codes: Sequence[int]) -> str:
        return bytes(code - 1 for code in codes if code).decode("utf-8", errors="replace")

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing was learnt."""


def chunks(column: pl.Series) -> Iterator[pl.Series]:
    """Slices of bounded size: the tokens of a million texts do not fit in memory."""
    for start in range(0, len(column), _CHUNK_ROWS):
        yield column.slice(start, _CHUNK_ROWS)


def _flattened(lists: pl.Series) -> pl.Series:
    """All tokens one after another; rows without tokens give none."""
    return lists.filter(lists.list.len() > 0).explode()


def _added(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("word").agg(pl.col("rows").sum())
