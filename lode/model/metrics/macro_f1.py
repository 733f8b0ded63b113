"""Macro F1: the plain mean of the F1 of every class."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, class_counts


class MacroF1(Metric):
    """Mean F1 over the classes (or labels, each said from 0.5 on) that occur among the targets or the predictions."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P (N, K); target: codes (N,), or 0 and 1 of several labels (N, K)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean; NaN of no rows."""
        prediction_NK, target_N, weight_N = self._rows.all()
        if not len(target_N):
            return float("nan")
        if target_N.ndim == 2:
            return self.of(added(self.units(prediction_NK, target_N), weight_N))
        right_K, predicted_K, true_K = class_counts(prediction_NK.argmax(axis=1), target_N, weight_N, prediction_NK.shape[1])
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
