"""Pinball loss: what quantiles cost that lie too low or too high, in the unit of the target."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio


class Pinball(Metric):
    """Mean over rows and levels of level * (truth - quantile), or (1 - level) * (quantile - truth) where the quantile is above."""

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
        """Loss and one, (N, 2)."""
        short_NK, level_NK = target[:, :1] - prediction, target[:, 1:]
        loss_N = np.maximum(level_NK * short_NK, (level_NK - 1) * short_NK).mean(axis=1)
        return np.stack([loss_N, np.ones(len(loss_N))], axis=1)

    def of(self, sums_S: np.ndarray) -> float:
        """The mean."""
        return ratio(sums_S[0], sums_S[1])
