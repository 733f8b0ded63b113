"""Anomalies by principal components: what a plane through the data cannot put together again. A linear autoencoder, without a loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from safetensors.numpy import load_file, save_file

from lode.core.types import Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.rarity import Rarity


class Principal(Family):
    """Squared distance of a row from the plane of the largest variance (Shyu 2003, A novel anomaly detection scheme).

    Args:
        variance: Share of the variance of the training rows that the plane keeps.
    """

    kinds = ("anomaly",)
    needs = "flat"
    loop = False

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        variance: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.9,
    ) -> None:
        self._tasks, self._variance = tuple(tasks), variance
        self._rarity = Rarity(shapes.flat)
        self._mean_X, self._plane_KX = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Find the plane by the eigenvectors of the covariance. Labels are not looked at."""
        matrix_NX = self._rarity.fit_matrix(train.flat)
        self._mean_X = matrix_NX.mean(axis=0)
        centred_NX = matrix_NX - self._mean_X
        values_X, vectors_XX = np.linalg.eigh((centred_NX.T @ centred_NX).astype(np.float64) / max(1, len(matrix_NX)))
        order = np.argsort(-values_X, kind="stable")
        kept = np.cumsum(values_X[order]) / max(values_X.sum(), 1e-300)
        size = min(int(np.searchsorted(kept, self._variance)) + 1, max(0, len(order) - 1))
        self._plane_KX = np.ascontiguousarray(vectors_XX[:, order[:size]].T, dtype=np.float32)
        self._rarity.fit(self._odd(matrix_NX))
        return Fitted(choices={"components": size})

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """-log10 of the share of training rows that are as odd."""
        parts = [self._rarity.scores(self._odd(part)) for part in self._rarity.chunks(examples.flat)]
        scores = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
        return {name: scores.copy() for name in self._tasks}

    def cost(self) -> Cost:
        """Two products with the plane."""
        return Cost(self._plane_KX.size, 4 * self._plane_KX.size, 4 * self._plane_KX.size)

    def save(self, folder: Path) -> None:
        """Write principal.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"mean": self._mean_X, "plane": self._plane_KX, **self._rarity.state()}, folder / "principal.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        arrays = load_file(folder / "principal.safetensors")
        self._mean_X, self._plane_KX = arrays["mean"], arrays["plane"]
        self._rarity.restore(arrays)

    def _odd(self, matrix_NX: np.ndarray) -> np.ndarray:
        """The squared distance from the plane, float64 (N,); row by row, so that it does not depend on the others."""
        centred_NX = (matrix_NX - self._mean_X).astype(np.float64)
        rest_NX = centred_NX - (centred_NX @ self._plane_KX.T.astype(np.float64)) @ self._plane_KX
        return np.asarray((rest_NX**2).sum(axis=1))
