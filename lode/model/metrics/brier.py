"""Brier score: the mean squared difference between the probability and what happened."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class Brier(Metric):
    """Mean of (P(positive) - outcome) squared; 0 is perfect.

    prediction: P(positive) (N,); target: codes 0 or 1 (N,).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Squared error and one, (N, 2)."""
        return counted((prediction - target) ** 2)
