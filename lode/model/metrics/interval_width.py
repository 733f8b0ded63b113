"""Interval width: the mean distance between the lowest and the highest quantile."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio


class IntervalWidth(Metric):
    """Mean width, in the unit of the target; at the same coverage, less is better."""

    higher_is_better = False

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: quantiles (N, K), sorted; target: the number and the K levels (N, 1 + K)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean; NaN of no rows."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Width and one, (N, 2)."""
        width_N = prediction[:, -1] - prediction[:, 0]
        return np.stack([width_N, np.ones(len(width_N))], axis=1)

    def of(self, sums_S: np.ndarray) -> float:
        """The mean."""
        return ratio(sums_S[0], sums_S[1])
