"""F1: the harmonic mean of precision and recall of the positive label."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import ratio


class F1(Metric):
    """F1 of the positive label, which is predicted from 0.5 on.

    prediction: P(positive) (N,); target: codes 0 or 1 (N,).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right, said plus true, (N, 2)."""
        said_N, true_N = prediction >= 0.5, target == 1
        return np.stack([said_N & true_N, said_N.astype(np.int64) + true_N], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return ratio(2 * sums_S[0], sums_S[1])
