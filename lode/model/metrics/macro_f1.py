"""Macro F1: the plain mean of the F1 of every class."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import class_counts


class MacroF1(Metric):
    """Mean F1 over the classes (or labels, each said from 0.5 on) that occur among the targets or the predictions.

    prediction: P (N, K); target: codes (N,), or 0 and 1 of several labels (N, K).
    """

    higher_is_better = True

    def compute(self, prediction: np.ndarray, target: np.ndarray, weight_N: np.ndarray) -> float:
        """The mean over the classes that occur."""
        if target.ndim == 2:
            return super().compute(prediction, target, weight_N)
        right_K, predicted_K, true_K = class_counts(prediction.argmax(axis=1), target, weight_N, prediction.shape[1])
        return self.of(np.concatenate([right_K, predicted_K + true_K]))

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray | None:
        """Of several labels: right, said plus true, (N, 2 K). Of one label a row None: counting is quicker there."""
        if target.ndim == 1:
            return None
        said_NK, true_NK = prediction >= 0.5, target == 1
        return np.concatenate([said_NK & true_NK, said_NK.astype(np.float64) + true_NK], axis=1)

    def of(self, sums_S: np.ndarray) -> float:
        """The mean over the classes that occur."""
        right_K, either_K = np.split(sums_S, 2)
        occurs_K = either_K > 0
        return float((2 * right_K[occurs_K] / either_K[occurs_K]).mean()) if occurs_K.any() else float("nan")
