"""RMSE: the root of the mean squared error, in the unit of the target."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, mean


class Rmse(Metric):
    """Root of the mean squared error."""

    higher_is_better = False

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: numbers (N,); target: numbers (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The root; NaN of no rows."""
        prediction_N, target_N, weight_N = self._rows.all()
        return float(np.sqrt(mean((target_N - prediction_N) ** 2, weight_N)))
