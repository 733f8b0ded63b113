"""The model that looks at nothing: how often each label occurs, or the mean. Every other model has to beat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from lode.core.errors import ModelError
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task


class Constant(Family):
    """The same answer for every row: the share of each label, or the mean."""

    kinds = ("classes", "number", "labels", "quantiles", "tags", "anomaly", "vector", "relevance")
    needs = "flat"
    loop = False

    def __init__(self, shapes: Shapes, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._scores: dict[str, np.ndarray] = {}

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Count labels, or average. Rows without a target are left out.

        Errors: ModelError where an output has no row with a target.
        """
        for name, task in self._tasks.items():
            self._scores[name] = _prior(name, task, np.asarray(train.targets[name]))
        return Fitted()

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """The same scores for every row: log-odds, log-probabilities or the standardised mean."""
        return {name: np.tile(scores_K, (examples.num_rows, *[1] * scores_K.ndim)) for name, scores_K in self._scores.items()}

    def cost(self) -> Cost:
        """One number for each score, nothing to compute."""
        num_scores = sum(array.size for array in self._scores.values())
        return Cost(parameters=num_scores, flops_per_row=0, weight_bytes=4 * num_scores)

    def save(self, folder: Path) -> None:
        """Write constant.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._scores, folder / "constant.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        self._scores = load_file(folder / "constant.safetensors")


def _prior(name: str, task: Task, target: np.ndarray) -> np.ndarray:
    known = target[task.known(target)]
    if not len(known):
        raise ModelError(f"outputs.{name}: no training row has a value, at least one is needed. Check the column")
    return task.prior(known)
