"""Pinball loss: what quantiles cost that lie too low or too high, in the unit of the target."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class Pinball(Metric):
    """Mean over rows and levels of level * (truth - quantile), or (1 - level) * (quantile - truth) where the quantile is above.

    prediction: quantiles (N, K), sorted; target: the number and the K levels (N, 1 + K).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Loss and one, (N, 2)."""
        short_NK, level_NK = target[:, :1] - prediction, target[:, 1:]
        loss_N = np.maximum(level_NK * short_NK, (level_NK - 1) * short_NK).mean(axis=1)
        return counted(loss_N)
