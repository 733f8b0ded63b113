"""Anomalies by isolation: a row that few random cuts part from all others is odd. Saved as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from safetensors.numpy import load_file, save_file

from lode.core.types import Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.rarity import Rarity


class Isolation(Family):
    """Isolation forest (Liu 2008, ICDM): the mean depth at which random trees part a row from a sample of rows.

    Args:
        trees: Number of trees.
        sample: Rows that each tree sees.
    """

    kinds = ("anomaly",)
    needs = "flat"
    loop = False

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        trees: Annotated[int, Range(1)] = 200,
        sample: Annotated[int, Range(2)] = 256,
    ) -> None:
        self._tasks, self._trees, self._sample = tuple(tasks), trees, sample
        self._rarity = Rarity(shapes.flat)
        self._nodes: dict[str, np.ndarray] = {}

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Grow the trees. Labels are not looked at."""
        from sklearn.ensemble import IsolationForest

        matrix_NX = self._rarity.fit_matrix(train.flat)
        forest = IsolationForest(
            n_estimators=self._trees, max_samples=min(self._sample, len(matrix_NX)), random_state=context.seed % 2**32
        ).fit(matrix_NX)
        self._nodes = _nodes([tree.tree_ for tree in forest.estimators_])
        self._rarity.fit(self._odd(matrix_NX))
        return Fitted()

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """-log10 of the share of training rows that are as odd."""
        parts = [self._rarity.scores(self._odd(part)) for part in self._rarity.chunks(examples.flat)]
        scores = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
        return {name: scores.copy() for name in self._tasks}

    def cost(self) -> Cost:
        """One comparison a level of each tree."""
        levels = int(np.ceil(np.log2(max(self._sample, 2))))
        size = sum(array.size for array in self._nodes.values())
        return Cost(max(size, 1), self._trees * levels, 4 * max(size, 1))

    def save(self, folder: Path) -> None:
        """Write isolation.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({**self._nodes, **self._rarity.state()}, folder / "isolation.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        arrays = load_file(folder / "isolation.safetensors")
        self._nodes = {name: arrays[name] for name in ("column", "threshold", "left", "right", "depth", "root")}
        self._rarity.restore(arrays)

    def _odd(self, matrix_NX: np.ndarray) -> np.ndarray:
        """Minus the mean depth, float64 (N,)."""
        nodes = self._nodes
        place_NT = np.tile(nodes["root"], (len(matrix_NX), 1))
        row_N1 = np.arange(len(matrix_NX))[:, None]
        while True:
            inner_NT = nodes["left"][place_NT] >= 0
            if not inner_NT.any():
                return -np.asarray(nodes["depth"][place_NT].mean(axis=1))
            goes_left_NT = matrix_NX[row_N1, np.maximum(nodes["column"][place_NT], 0)] <= nodes["threshold"][place_NT]
            next_NT = np.where(goes_left_NT, nodes["left"][place_NT], nodes["right"][place_NT])
            place_NT = np.where(inner_NT, next_NT, place_NT)


def _nodes(trees: list) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """All trees' nodes one after another. depth: of a leaf, with what the rows in it would still need on average."""
    starts = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])])
    parts: dict[str, list[np.ndarray]] = {"column": [], "threshold": [], "left": [], "right": [], "depth": []}
    for tree, start in zip(trees, starts, strict=False):
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):
            for child in (tree.children_left[node], tree.children_right[node]):
                if child >= 0:
                    depth[child] = depth[node] + 1.0
        parts["column"].append(tree.feature)
        parts["threshold"].append(tree.threshold)
        for name, children in (("left", tree.children_left), ("right", tree.children_right)):
            parts[name].append(np.where(children >= 0, children + start, -1))
        parts["depth"].append(depth + _expected(tree.n_node_samples))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    types = {"column": np.int32, "left": np.int32, "right": np.int32, "threshold": np.float64, "depth": np.float64}
    return {**{name: array.astype(types[name]) for name, array in joined.items()}, "root": starts[:-1].astype(np.int32)}


def _expected(rows: np.ndarray) -> np.ndarray:
    """Mean depth of a random tree over so many rows (Liu 2008, equation 1)."""
    more = np.maximum(rows, 3).astype(np.float64)
    found = 2.0 * (np.log(more - 1.0) + np.euler_gamma) - 2.0 * (more - 1.0) / more
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, found))
