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
        return {name: np.tile(scores_K, (examples.num_rows, 1)) for name, scores_K in self._scores.items()}

    def cost(self) -> Cost:
        """One number for each score, nothing to compute."""
        num_scores = sum(task.num_scores for task in self._tasks.values())
        return Cost(parameters=num_scores, flops_per_row=0, weight_bytes=4 * num_scores)

    def save(self, folder: Path) -> None:
        """Write constant.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._scores, folder / "constant.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        self._scores = load_file(folder / "constant.safetensors")


def _prior(name: str, task: Task, target_N: np.ndarray) -> np.ndarray:
    known_N = target_N[np.isfinite(target_N) if task.kind == "number" else target_N >= 0]
    if not len(known_N):
        raise ModelError(f'output "{name}": no training row has a value, at least one is needed. Check the column')
    if task.kind == "number":
        return np.array([known_N.mean(dtype=np.float64)], dtype=np.float32)
    # A class without a row (a small fold) counts as half a row, so that its logarithm stays finite.
    counts_K = np.maximum(np.bincount(known_N, minlength=max(task.num_scores, 2)), 0.5)
    if task.num_scores == 1:
        return np.array([np.log(counts_K[1] / counts_K[0])], dtype=np.float32)
    return np.log(counts_K / counts_K.sum()).astype(np.float32)
