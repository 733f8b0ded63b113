"""Weighted terms (TF-IDF) of token codes: 1 + log(count), times inverse document frequency, rows of length 1. numpy and scipy only.

Same figures as scikit-learn's TfidfVectorizer(sublinear_tf=True) with the same vocabulary (tests/unit/data/test_features_text.py), without
its loop over rows. Terms are integers: the codes of their tokens as digits, so that no term text is ever built. Used by features/text.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

_MAX_COUNT = 4_096
_MANY_DOCUMENTS = 100


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rows of tokens, one after another. codes: int32 (T,), 0 where a token is unknown; lengths: int64 (N,), adding up to T."""

    codes: np.ndarray
    lengths: np.ndarray


class Terms:
    """Which terms are weighted, and their inverse document frequencies.

    keys: int64 (F,) ascending; weights: float64 (F,); base: number of codes, 0 included.
    """

    def __init__(self, keys: np.ndarray, weights: np.ndarray, base: int) -> None:
        self.keys, self.weights, self.base = keys, weights, base
        self._num_grams = _num_digits(int(keys[-1]), base) if len(keys) else 1
        self._log_counts = 1.0 + np.log(np.arange(1, _MAX_COUNT + 1, dtype=np.float64))

    @classmethod
    def fit(cls, rows: Iterable[Tokens], *, base: int, max_grams: int, max_terms: int) -> Terms:
        """The most frequent terms; those of one document only are dropped where there are many documents."""
        parts: list[pl.DataFrame] = []
        num_documents = 0
        for tokens in rows:
            row, key = _grams(tokens, base, max_grams)
            found = pl.DataFrame({"row": row, "key": key}).group_by("row", "key").len("count")
            parts.append(found.group_by("key").agg(pl.col("count").sum(), pl.len().alias("documents")))
            num_documents += len(tokens.lengths)
            if len(parts) > 8:
                parts = [_added(parts)]
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0), base)
        counts = _added(parts)
        repeated = counts.filter(pl.col("documents") > 1)
        if num_documents > _MANY_DOCUMENTS and len(repeated):
            counts = repeated
        kept = counts.sort(["count", "key"], descending=[True, False]).head(max_terms).sort("key")
        documents = kept["documents"].to_numpy().astype(np.float64)
        weights = np.log((1.0 + num_documents) / (1.0 + documents)) + 1.0
        return cls(kept["key"].to_numpy().astype(np.int64), weights, base)

    def weigh(self, chunks: Sequence[Tokens]) -> sparse.csr_matrix:
        """float32 (N, F), rows of Euclidean length 1 (0 where a row has no known term)."""
        parts = [self._weigh(tokens) for tokens in chunks]
        if len(parts) == 1:
            return parts[0]
        return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, len(self.keys)), dtype=np.float32)

    def _weigh(self, tokens: Tokens) -> sparse.csr_matrix:
        num_rows, num_terms = len(tokens.lengths), len(self.keys)
        row, key = _grams(tokens, self.base, self._num_grams)
        place = np.searchsorted(self.keys, key)
        place[place == num_terms] = 0
        known = self.keys[place] == key if num_terms else np.zeros(len(key), dtype=bool)
        cell, count = np.unique(row[known] * max(num_terms, 1) + place[known], return_counts=True)
        row, column = np.divmod(cell, max(num_terms, 1))
        values = self._log_counts[np.minimum(count, _MAX_COUNT) - 1] * self.weights[column]
        # bincount adds in order, so that a row alone and the same row among many have the same last bit.
        squares = np.bincount(row, weights=values * values, minlength=num_rows)
        values = (values / np.sqrt(squares)[row]).astype(np.float32)
        ends = np.zeros(num_rows + 1, dtype=np.int32)
        np.cumsum(np.bincount(row, minlength=num_rows), out=ends[1:])
        return sparse.csr_matrix((values, column.astype(np.int32), ends), shape=(num_rows, num_terms))

    def names(self, words: Sequence[str], glue: str) -> list[str]:
        """The terms as text, in column order; the word at position i has code i + 1."""
        names = []
        for key in self.keys.tolist():
            parts = []
            while key:
                key, code = divmod(key, self.base)
                parts.append(words[code - 1])
            names.append(glue.join(reversed(parts)))
        return names


def _num_digits(key: int, base: int) -> int:
    digits = 1
    while key >= base:
        key //= base
        digits += 1
    return digits


def _grams(tokens: Tokens, base: int, max_grams: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and key, int64 each, of every run of 1 to max_grams known tokens of one row."""
    row = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
    codes = tokens.codes.astype(np.int64)
    rows, keys = [], []
    key, known = codes, codes > 0
    for size in range(1, max_grams + 1):
        if size > 1:
            tail = codes[size - 1 :]
            key = key[: len(tail)] * base + tail
            known = known[: len(tail)] & (tail > 0) & (row[: len(tail)] == row[size - 1 :])
        rows.append(row[: len(key)][known])
        keys.append(key[known])
    return np.concatenate(rows), np.concatenate(keys)


def _added(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("key").agg(pl.col("count").sum(), pl.col("documents").sum())
