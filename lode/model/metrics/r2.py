"""R2: the share of the targets' variance that the prediction explains."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, mean


class R2(Metric):
    """1 - squared error / variance. Predicting the mean gives 0, 1 is perfect; it may be negative."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: numbers (N,); target: numbers (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The share; NaN where the targets do not vary."""
        prediction_N, target_N, weight_N = self._rows.all()
        spread = mean((target_N - mean(target_N, weight_N)) ** 2, weight_N)
        return 1.0 - mean((target_N - prediction_N) ** 2, weight_N) / spread if spread > 0 else float("nan")
