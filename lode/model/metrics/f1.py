"""F1: the harmonic mean of precision and recall of the positive label."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows


class F1(Metric):
    """F1 of the positive label, which is predicted from 0.5 on."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P(positive) (N,); target: codes 0 or 1 (N,)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where no row is positive or predicted to be."""
        prediction_N, target_N, weight_N = self._rows.all()
        predicted_N, positive_N = prediction_N >= 0.5, target_N == 1
        either = float((weight_N * predicted_N).sum() + (weight_N * positive_N).sum())
        return float(2 * (weight_N * (predicted_N & positive_N)).sum() / either) if either > 0 else float("nan")
