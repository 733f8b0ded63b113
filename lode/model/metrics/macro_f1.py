"""Macro F1: the plain mean of the F1 of every class."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, class_counts


class MacroF1(Metric):
    """Mean F1 over the classes that occur among the targets or the predictions."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P (N, K); target: codes (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean; NaN of no rows."""
        prediction_NK, target_N, weight_N = self._rows.all()
        if not len(target_N):
            return float("nan")
        right_K, predicted_K, true_K = class_counts(prediction_NK.argmax(axis=1), target_N, weight_N, prediction_NK.shape[1])
        either_K = predicted_K + true_K
        occurs_K = either_K > 0
        return float((2 * right_K[occurs_K] / either_K[occurs_K]).mean())
