"""RMSE: the root of the mean squared error, in the unit of the target."""

from __future__ import annotations

import math

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted, ratio


class Rmse(Metric):
    """Root of the mean squared error.

    prediction: numbers (N,); target: numbers (N,).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Squared error and one, (N, 2)."""
        return counted((target - prediction) ** 2)

    def of(self, sums_S: np.ndarray) -> float:
        """The root of the mean."""
        return math.sqrt(ratio(sums_S[0], sums_S[1]))
