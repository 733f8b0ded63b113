"""Brier score: the mean squared difference between the probability and what happened."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, mean


class Brier(Metric):
    """Mean of (P(positive) - outcome) squared; 0 is perfect."""

    higher_is_better = False

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P(positive) (N,); target: codes 0 or 1 (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean; NaN of no rows."""
        prediction_N, target_N, weight_N = self._rows.all()
        return mean((prediction_N - target_N) ** 2, weight_N)
