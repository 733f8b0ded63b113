"""Log loss: the mean negative logarithm of the probability that the true label got."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, mean


class LogLoss(Metric):
    """Mean cross-entropy in nats; probabilities are clipped to the smallest step above 0, so that it stays finite."""

    higher_is_better = False

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P(positive) (N,) or P (N, K); target: codes (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean; NaN of no rows."""
        prediction, target_N, weight_N = self._rows.all()
        if prediction.ndim == 1:
            probability_N = np.where(target_N == 1, prediction, 1.0 - prediction)
        else:
            probability_N = np.take_along_axis(prediction, target_N[:, None], axis=1)[:, 0]
        eps = np.finfo(np.float64).eps
        return mean(-np.log(np.clip(probability_N, eps, 1.0 - eps)), weight_N)
