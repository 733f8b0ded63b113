"""Coverage: the share of rows whose truth lies between the lowest and the highest quantile."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio


class Coverage(Metric):
    """Share of rows between the outer quantiles; it should be the distance of their levels (0.8 for 0.1 and 0.9), not more."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: quantiles (N, K), sorted; target: the number and the K levels (N, 1 + K)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The share; NaN of no rows."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Inside and one, (N, 2)."""
        inside_N = (target[:, 0] >= prediction[:, 0]) & (target[:, 0] <= prediction[:, -1])
        return np.stack([inside_N, np.ones(len(inside_N))], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """The share."""
        return ratio(sums_S[0], sums_S[1])
