"""Interval width: the mean distance between the lowest and the highest quantile."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class IntervalWidth(Metric):
    """Mean width, in the unit of the target; at the same coverage, less is better.

    prediction: quantiles (N, K), sorted; target: the number and the K levels (N, 1 + K).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Width and one, (N, 2)."""
        width_N = prediction[:, -1] - prediction[:, 0]
        return counted(width_N)
