"""Many numbers to few. The signature of Reduce is the schema of `data.reduce`; lode/data/preprocess.py uses `Components`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.errors import DataError
from lode.core.types import Range

MAX_COLUMNS = 4_096
"""More would need gigabytes and minutes for the covariances alone."""
_MIN_SHARE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Reduce:
    """Replaces the number inputs by a few directions; learnt on the training split.

    Args:
        by: "pca" (principal components of the scaled numbers, flags of missing cells among them; each scaled to deviation 1).
        components: how many directions stay; below 1, the share of the variance that they must hold.
    """

    by: Literal["pca"] = "pca"
    components: Annotated[int, Range(1)] | Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.95


class Components:
    """Principal components (Pearson 1901) from means and covariances, so that one pass over the rows in chunks is enough.

    z = (x - mean) V / sqrt(eigenvalues): scikit-learn's PCA(whiten=True), signs such that each direction's largest weight is positive.
    """

    def __init__(self) -> None:
        self.mean = np.zeros(0)
        self.weights = np.zeros((0, 1))
        self.explained = np.zeros(1)

    def fit(self, chunks: Iterable[np.ndarray], components: float) -> None:
        """chunks: (n, P) each. Directions without variance are left out; one at least stays.

        Errors: DataError for more than 4,096 columns.
        """
        count, total, squares, origin = 0, np.zeros(0), np.zeros((0, 0)), np.zeros(0)
        for chunk in chunks:
            if chunk.shape[1] > MAX_COLUMNS:
                text = f"data.reduce: found {chunk.shape[1]:,} columns of numbers, allowed: at most {MAX_COLUMNS:,}."
                raise DataError(f"{text} Keep fewer inputs first: `select: {{keep: 1000}}`.")
            values = chunk.astype(np.float64)
            if not count:
                origin = values.mean(axis=0) if len(values) else np.zeros(chunk.shape[1])
                total, squares = np.zeros(chunk.shape[1]), np.zeros((chunk.shape[1], chunk.shape[1]))
            values -= origin
            count, total = count + len(values), total + values.sum(axis=0)
            squares += values.T @ values
        shift = total / max(count, 1)
        self.mean = origin + shift
        self._take(squares - count * np.outer(shift, shift), count, components)

    def _take(self, scatter: np.ndarray, count: int, components: float) -> None:
        variances, vectors = np.linalg.eigh(scatter / max(count - 1, 1))
        variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
        all_variance = float(variances.sum()) or 1.0
        shares = variances / all_variance
        rank = int((shares > _MIN_SHARE).sum())
        wanted = int(components) if components >= 1 else int(np.searchsorted(np.cumsum(shares), components - 1e-12)) + 1
        size = max(1, min(wanted, rank))
        vectors = vectors[:, :size] * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(variances))])[:size]
        deviation = np.sqrt(variances[:size])
        self.weights = np.divide(vectors, deviation, out=np.zeros_like(vectors), where=deviation > 0)
        self.explained = shares[:size]

    @property
    def size(self) -> int:
        """How many directions there are."""
        return self.weights.shape[1]

    def transform(self, matrix: np.ndarray) -> np.ndarray:
        """float32 (N, K) from (N, P)."""
        return np.asarray(((matrix.astype(np.float64) - self.mean) @ self.weights).astype(np.float32))

    def state(self) -> dict[str, Any]:
        """What `fit` learned."""
        return {"mean": self.mean, "weights": self.weights, "explained": self.explained}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.mean, self.weights, self.explained = (np.asarray(state[key], np.float64) for key in ("mean", "weights", "explained"))
