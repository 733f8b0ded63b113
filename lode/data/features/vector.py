"""Vectors of one length: embeddings, spectra, expressions of genes. How cells are read is in lode/data/encoding/lists.py; read
lode/data/contracts.py first.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data.contracts import Feature, State
from lode.data.encoding.lists import gathered, laid_flat, number_lists

_LIMIT = 1e6
_FLOAT32 = 3e38


class Vector(Feature):
    """A list of numbers whose places mean something each, all of one length; as a list, or as a text such as "0.1, 2, nan".

    Gaps become the training mean of their place. Once fitted, cells of another length are rejected.

    Args:
        size: how many numbers; without it, what the training cells have, which must agree. With it, cells of another length are
            rejected from the start.
        scale: standard (mean 0 and spread 1 over the training rows, place by place) or none.
    """

    kind: ClassVar[Literal["list"]] = "list"
    expects: ClassVar[str] = "a list of finite numbers with gaps at most, as long as every other"

    def __init__(
        self, *, size: Annotated[int, Range(1, 1_000_000)] | None = None, scale: Literal["standard", "none"] = "standard"
    ) -> None:
        self.size, self.scale = size, scale
        self._size = size
        self._mean_K = np.zeros(size or 1)
        self._spread_K = np.ones(size or 1)

    def parse(self, column: pl.Series) -> pl.Series:
        found = number_lists(column)
        if self._size is None:
            return found
        other = found.list.len().fill_null(self._size) != self._size
        return found.zip_with(~other, pl.Series([None], dtype=found.dtype)) if other.any() else found

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Errors: DataError where the vectors are not of one length."""
        lengths = column.drop_nulls().list.len()
        counts = lengths.value_counts(sort=True)
        if self.size is None and len(counts) > 1:
            most = counts.sort(["count", counts.columns[0]], descending=[True, False])
            found = ", ".join(f"{rows:,} of {size:,} numbers" for size, rows in most.head(4).iter_rows())
            raise DataError(
                f"inputs.{column.name}: vectors of different lengths found ({found}), allowed is one length. "
                f"Write `{{type: vector, size: {most[0, 0]}}}` to leave the others out, or `{{type: series}}`."
            )
        self._size = self.size or (int(lengths[0]) if len(lengths) else 1)
        values_NK = self._values(column.drop_nulls())
        known_K = np.isfinite(values_NK).any(axis=0) if len(values_NK) else np.zeros(self._size, dtype=bool)
        self._mean_K, self._spread_K = np.zeros(self._size), np.ones(self._size)
        self._mean_K[known_K] = np.nanmean(values_NK[:, known_K], axis=0)
        if self.scale == "standard":
            spread_K = np.nanstd(values_NK[:, known_K], axis=0)
            self._spread_K[known_K] = np.where(spread_K > 1e-12 * np.maximum(1.0, np.abs(self._mean_K[known_K])), spread_K, 1.0)

    def _values(self, column: pl.Series) -> np.ndarray:
        """float64 (N, K) with NaN for gaps and for missing cells; cells of another length count as missing."""
        size = self._size or 1
        fits = (column.list.len() == size).fill_null(False)
        values, _ = laid_flat(column.filter(fits))
        array = np.full((len(column), size), np.nan)
        array[fits.to_numpy()] = np.clip(values.to_numpy().reshape(-1, size), -1e150, 1e150)
        return array

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        values_NK = self._values(column)
        values_NK = np.where(np.isnan(values_NK), self._mean_K, values_NK)
        if self.scale == "none":
            return np.clip(values_NK, -_FLOAT32, _FLOAT32).astype(np.float32)
        return np.clip((values_NK - self._mean_K) / self._spread_K, -_LIMIT, _LIMIT).astype(np.float32)

    def inverse(self, array: np.ndarray) -> pl.Series:
        values_NK = array.astype(np.float64)
        if self.scale == "standard":
            values_NK = values_NK * self._spread_K + self._mean_K
        return gathered(pl.Series(values_NK.ravel(), dtype=pl.Float64), np.full(len(array), array.shape[1]))

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (self._size or 1,))

    @property
    def flat_spec(self) -> FlatSpec:
        size = self._size or 1
        return FlatSpec(tuple(str(place) for place in range(size)), (0,) * size)

    def flat(self, column: pl.Series) -> np.ndarray:
        """The numbers as they are, NaN for gaps."""
        return np.clip(self._values(column), -_FLOAT32, _FLOAT32).astype(np.float32)

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        return {"size": self._size, "mean": self._mean_K, "spread": self._spread_K}

    def restore(self, state: State) -> None:
        self._size = None if state["size"] is None else int(state["size"])
        self._mean_K, self._spread_K = np.asarray(state["mean"]), np.asarray(state["spread"])
