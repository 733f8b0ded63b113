"""Accuracy: the share of rows whose most probable label is the right one."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class Accuracy(Metric):
    """Share of right labels; a binary prediction counts as positive from 0.5 on.

    prediction: P(positive) (N,) or P (N, K); target: codes (N,).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right and one, (N, 2)."""
        predicted_N = prediction >= 0.5 if prediction.ndim == 1 else prediction.argmax(axis=1)
        return counted(predicted_N == target)
