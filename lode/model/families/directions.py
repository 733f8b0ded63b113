"""The baseline of embeddings: the principal directions of the plain columns, labels not looked at (latent semantic analysis)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.design import Design


class Directions(Family):
    """Truncated singular value decomposition of the flat matrix (Deerwester 1990), as many directions as the vector has numbers."""

    kinds = ("vector",)
    needs = "flat"
    loop = False

    def __init__(self, shapes: Shapes, tasks: Mapping[str, Task]) -> None:
        self._sizes = {name: task.num_scores for name, task in tasks.items()}
        self._design = Design(shapes.flat)
        self._axes_XK = np.zeros((0, 0))

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Find the directions; where there are fewer columns than numbers wanted, the rest is 0."""
        from sklearn.decomposition import TruncatedSVD

        self._design.fit(train.flat)
        matrix_NX = self._design.matrix(train.flat)
        size = min(max(self._sizes.values()), min(matrix_NX.shape) - 1)
        self._axes_XK = np.eye(matrix_NX.shape[1])
        if 0 < size < matrix_NX.shape[1]:
            self._axes_XK = TruncatedSVD(size, random_state=context.seed % 2**32).fit(matrix_NX).components_.T
        return Fitted(choices={"directions": self._axes_XK.shape[1]})

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """The row along each direction, float32 (N, K)."""
        found = self._design.product(examples.flat, self._axes_XK)
        scores = {}
        for name, size in self._sizes.items():
            scores[name] = np.zeros((examples.num_rows, size), np.float32)
            scores[name][:, : found.shape[1]] = found[:, :size]
        return scores

    def cost(self) -> Cost:
        """One multiplication and one addition a weight."""
        return Cost(self._axes_XK.size, 2 * self._axes_XK.size, 8 * self._axes_XK.size)

    def save(self, folder: Path) -> None:
        """Write directions.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"axes": self._axes_XK, **{f"design.{name}": array for name, array in self._design.state().items()}}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "directions.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        arrays = load_file(folder / "directions.safetensors")
        self._axes_XK = arrays["axes"]
        self._design.restore({name.removeprefix("design."): array for name, array in arrays.items()})
