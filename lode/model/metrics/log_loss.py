"""Log loss: the mean negative logarithm of the probability that the true label got."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class LogLoss(Metric):
    """Mean cross-entropy in nats; probabilities are clipped to the smallest step above 0, so that it stays finite.

    prediction: P(positive) (N,) or P (N, K); target: codes (N,).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Loss and one, (N, 2)."""
        if prediction.ndim == 1:
            probability_N = np.where(target == 1, prediction, 1.0 - prediction)
        else:
            probability_N = np.take_along_axis(prediction, target[:, None], axis=1)[:, 0]
        eps = np.finfo(np.float64).eps
        return counted(-np.log(np.clip(probability_N, eps, 1.0 - eps)))
