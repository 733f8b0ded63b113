"""How the words of a category become numbers: codes, hashed codes, shares of rows, means of the target. Used by features/category.py.

Every encoding has the same methods, which the feature hands on. Codes of words are in lode/data/cells.py.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, TensorSpec
from lode.data import cells
from lode.data.contracts import State

_MIN_SHARE = 1e-4
"""Shares are kept this far from 0 and 1 before their log-odds are taken."""


class Encoding(ABC):
    """What a category is to the models."""

    @abstractmethod
    def fit(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> None:
        """Learn from the training column (String or Enum)."""

    @abstractmethod
    def transform(self, column: pl.Series) -> np.ndarray:
        """The array for networks."""

    @abstractmethod
    def flat(self, column: pl.Series) -> np.ndarray:
        """float32 (N, F) for baselines."""

    @property
    @abstractmethod
    def spec(self) -> TensorSpec:
        """What `transform` gives."""

    @property
    @abstractmethod
    def flat_spec(self) -> FlatSpec:
        """What `flat` gives."""

    @abstractmethod
    def unseen(self, column: pl.Series) -> int:
        """Cells with a word that training did not keep."""

    @abstractmethod
    def state(self) -> State:
        """What `fit` learned."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take over what `state` gave."""

    def words(self, array: np.ndarray) -> list[str | None]:
        """The words of an array, None where it does not say which."""
        return [None] * len(array)

    def without(self, fold: int) -> Encoding:
        """This encoding as if the rows of a fold had not been there; itself where it does not learn from the target."""
        return self


class Codes(Encoding):
    """The most frequent word is 1, the next 2; 0 is missing, unknown or too rare.

    grouped: words that are unknown or too rare have a last code of their own, so that 0 is a missing cell only.
    """

    def __init__(self, min_count: int, max_values: int, grouped: bool) -> None:
        self._min_count, self._max_values, self._grouped = min_count, max_values, grouped
        self._codes = cells.WordCodes([])

    def fit(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> None:
        self._codes = cells.WordCodes(cells.ranked_words(column, self._min_count, self._max_values))

    def transform(self, column: pl.Series) -> np.ndarray:
        codes = self._codes.codes(column)
        return _grouped(codes, column, len(self._codes.words) + 1) if self._grouped else codes

    def flat(self, column: pl.Series) -> np.ndarray:
        return self.transform(column).astype(np.float32).reshape(-1, 1)

    @property
    def _cardinality(self) -> int:
        return len(self._codes.words) + 1 + self._grouped

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("int32", (), cardinality=self._cardinality)

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (self._cardinality,))

    def unseen(self, column: pl.Series) -> int:
        return _unknown(self._codes, column)

    def state(self) -> State:
        return {"words": list(self._codes.words)}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])

    def words(self, array: np.ndarray) -> list[str | None]:
        names = np.array([None, *self._codes.words, *([None] * self._grouped)], dtype=object)
        found: list[str | None] = names[array].tolist()
        return found


class Hashes(Encoding):
    """Fixed buckets by BLAKE2b of the word's UTF-8 bytes: the same code on every machine, nothing to learn; 0 is missing.

    Weinberger et al. 2009, Feature Hashing, arXiv 0902.2206. Words that share a bucket are one word to the model.
    """

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets

    def fit(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> None:
        """Nothing to learn."""

    def transform(self, column: pl.Series) -> np.ndarray:
        if len(column) <= cells.FEW_ROWS:
            few = [0 if word is None else self._code(word) for word in column.to_list()]
            return np.array(few, dtype=np.int32)
        if isinstance(column.dtype, pl.Enum):
            names = column.dtype.categories.to_list()
            codes_of = np.array([*(self._code(name) for name in names), 0], dtype=np.int32)
            return codes_of.take(cells.filled(column.to_physical(), len(names)))
        words = column.drop_nulls().unique()
        codes = pl.Series([self._code(word) for word in words.to_list()], dtype=pl.Int32)
        return column.replace_strict(words, codes, default=0, return_dtype=pl.Int32).to_numpy()

    def _code(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
        return 1 + int.from_bytes(digest, "little") % self._buckets

    def flat(self, column: pl.Series) -> np.ndarray:
        return self.transform(column).astype(np.float32).reshape(-1, 1)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("int32", (), cardinality=self._buckets + 1)

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (self._buckets + 1,))

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing was learnt."""


class Shares(Encoding):
    """How frequent the word is: the share of training rows for baselines, log(1 + rows) / log(1 + all rows) for networks; unknown is 0."""

    def __init__(self, min_count: int, max_values: int) -> None:
        self._min_count, self._max_values = min_count, max_values
        self._codes = cells.WordCodes([])
        self._counts = np.zeros(2)
        self._total = 0

    def fit(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> None:
        self._codes = cells.WordCodes(cells.ranked_words(column, self._min_count, self._max_values))
        self._counts = np.bincount(_levels(self._codes, column), minlength=len(self._codes.words) + 2).astype(np.float64)
        self._counts[0] = 0.0
        self._total = len(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        table = np.log1p(self._counts) / max(np.log1p(self._total), 1e-9)
        return table.astype(np.float32)[_levels(self._codes, column)].reshape(-1, 1)

    def flat(self, column: pl.Series) -> np.ndarray:
        table = self._counts / max(self._total, 1)
        return table.astype(np.float32)[_levels(self._codes, column)].reshape(-1, 1)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (1,))

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (0,))

    def unseen(self, column: pl.Series) -> int:
        return _unknown(self._codes, column)

    def state(self) -> State:
        return {"words": list(self._codes.words), "counts": self._counts, "total": self._total}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])
        self._counts, self._total = np.asarray(state["counts"], np.float64), int(state["total"])


class Means(Encoding):
    """The mean of the target over the training rows with the word, drawn towards the mean of all rows.

    (sum + smooth * mean) / (rows + smooth): Micci-Barreca 2001, as scikit-learn's TargetEncoder(smooth=...). Classes give one share for
    a yes-or-no target, else one per class; a number gives its mean. A missing cell is a word of its own, an unknown or rare one
    is the mean of all rows. Networks see log-odds of the shares. Training rows must be given values out of fold: see `without`.
    """

    def __init__(self, min_count: int, max_values: int, smooth: float) -> None:
        self._min_count, self._max_values, self._smooth = min_count, max_values, smooth
        self._codes = cells.WordCodes([])
        self._table = np.zeros((2, 1))
        self._classes = False
        self._counts_FL, self._sums_FLK = np.zeros((0, 2)), np.zeros((0, 2, 1))

    def fit(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> None:
        self._codes = cells.WordCodes(cells.ranked_words(column, self._min_count, self._max_values))
        values_NK, known_N = _values(target, len(column))
        self._classes = target is not None and np.issubdtype(target.dtype, np.integer)
        fold_N = np.zeros(len(column), np.int64) if folds is None else np.asarray(folds, np.int64)
        num_folds, num_levels = int(fold_N.max(initial=0)) + 1, len(self._codes.words) + 2
        place_M = (fold_N * num_levels + _levels(self._codes, column))[known_N]
        size = num_folds * num_levels
        sums = [np.bincount(place_M, weights=values_N[known_N], minlength=size) for values_N in values_NK.T]
        self._counts_FL = np.bincount(place_M, minlength=size).reshape(num_folds, num_levels).astype(np.float64)
        self._sums_FLK = np.stack(sums, axis=1).astype(np.float64).reshape(num_folds, num_levels, len(sums))
        self._table = self._means(self._counts_FL.sum(axis=0), self._sums_FLK.sum(axis=0))

    def _means(self, counts_L: np.ndarray, sums_LK: np.ndarray) -> np.ndarray:
        """float64 (L, K) from rows and sums of each level."""
        mean_K = sums_LK.sum(axis=0) / max(counts_L.sum(), 1.0)
        rows_L1 = counts_L.reshape(-1, 1)
        weight_L1 = rows_L1 + self._smooth
        with np.errstate(invalid="ignore", divide="ignore"):
            table_LK = np.where(weight_L1 > 0, (sums_LK + self._smooth * mean_K) / weight_L1, mean_K)
        table_LK[0] = mean_K
        return np.asarray(table_LK)

    def without(self, fold: int) -> Means:
        rest = np.arange(len(self._counts_FL)) != fold
        made = Means(self._min_count, self._max_values, self._smooth)
        made._codes, made._classes = self._codes, self._classes
        made._table = self._means(self._counts_FL[rest].sum(axis=0), self._sums_FLK[rest].sum(axis=0))
        return made

    def transform(self, column: pl.Series) -> np.ndarray:
        table = self._table
        if self._classes:
            share = np.clip(table, _MIN_SHARE, 1.0 - _MIN_SHARE)
            table = np.log(share / (1.0 - share))
        return table.astype(np.float32)[_levels(self._codes, column)]

    def flat(self, column: pl.Series) -> np.ndarray:
        return self._table.astype(np.float32)[_levels(self._codes, column)]

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (self._table.shape[1],))

    @property
    def flat_spec(self) -> FlatSpec:
        width = self._table.shape[1]
        return FlatSpec(("",) if width == 1 else tuple(f"class{place}" for place in range(width)), (0,) * width)

    def unseen(self, column: pl.Series) -> int:
        return _unknown(self._codes, column)

    def state(self) -> State:
        return {"words": list(self._codes.words), "table": self._table, "classes": self._classes}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])
        self._table, self._classes = np.asarray(state["table"], np.float64), bool(state["classes"])


def _values(target: np.ndarray | None, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """What is averaged, float64 (N, K), and which rows have it, bool (N,)."""
    if target is None:
        return np.zeros((num_rows, 1)), np.zeros(num_rows, dtype=bool)
    if not np.issubdtype(target.dtype, np.integer):
        known_N = np.isfinite(target)
        return np.where(known_N, target, 0.0).astype(np.float64).reshape(-1, 1), known_N
    num_classes = int(target.max(initial=0)) + 1
    wanted: Any = np.arange(num_classes) if num_classes > 2 else np.array([1])
    return (target.reshape(-1, 1) == wanted).astype(np.float64), target >= 0


def _levels(codes: cells.WordCodes, column: pl.Series) -> np.ndarray:
    """int32 (N,): 0 unknown or rare, then the words, the last one for missing cells."""
    found = codes.codes(column)
    if not column.has_nulls():
        return found
    missing = len(codes.words) + 1
    return np.where(column.is_null().to_numpy(), np.int32(missing), found)


def _grouped(found: np.ndarray, column: pl.Series, last: int) -> np.ndarray:
    """Codes with `last` for words that have none."""
    unknown = (found == 0) & column.is_not_null().to_numpy()
    return np.where(unknown, np.int32(last), found)


def _unknown(codes: cells.WordCodes, column: pl.Series) -> int:
    return len(column) - column.null_count() - int(np.count_nonzero(codes.codes(column)))
