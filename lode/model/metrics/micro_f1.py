"""Micro F1: the harmonic mean of precision and recall over all labels of all rows."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import ratio


class MicroF1(Metric):
    """F1 over every label of every row, each said from 0.5 on; frequent labels weigh more.

    prediction: P of each label (N, K); target: 0 and 1 (N, K).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right, said plus true, (N, 2)."""
        said_NK, true_NK = prediction >= 0.5, target == 1
        return np.stack([(said_NK & true_NK).sum(axis=1), said_NK.sum(axis=1) + true_NK.sum(axis=1)], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return ratio(2 * sums_S[0], sums_S[1])
