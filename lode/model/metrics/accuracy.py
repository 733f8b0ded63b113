"""Accuracy: the share of rows whose most probable label is the right one."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, mean


class Accuracy(Metric):
    """Share of right labels; a binary prediction counts as positive from 0.5 on."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P(positive) (N,) or P (N, K); target: codes (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The share; NaN of no rows."""
        prediction, target_N, weight_N = self._rows.all()
        predicted_N = prediction >= 0.5 if prediction.ndim == 1 else prediction.argmax(axis=1)
        return mean(predicted_N == target_N, weight_N)
