"""Coverage: the share of rows whose truth lies between the lowest and the highest quantile."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class Coverage(Metric):
    """Share of rows between the outer quantiles; it should be the distance of their levels (0.8 for 0.1 and 0.9), not more.

    prediction: quantiles (N, K), sorted; target: the number and the K levels (N, 1 + K).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Inside and one, (N, 2)."""
        inside_N = (target[:, 0] >= prediction[:, 0]) & (target[:, 0] <= prediction[:, -1])
        return counted(inside_N)
