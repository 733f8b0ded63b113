"""R2: the share of the targets' variance that the prediction explains."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import mean


class R2(Metric):
    """1 - squared error / variance. Predicting the mean gives 0, 1 is perfect; it may be negative.

    prediction: numbers (N,); target: numbers (N,).
    """

    higher_is_better = True

    def compute(self, prediction: np.ndarray, target: np.ndarray, weight_N: np.ndarray) -> float:
        """The share; NaN where the targets do not vary."""
        spread = mean((target - mean(target, weight_N)) ** 2, weight_N)
        return 1.0 - mean((target - prediction) ** 2, weight_N) / spread if spread > 0 else float("nan")
