"""Micro F1: the harmonic mean of precision and recall over all labels of all rows."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio


class MicroF1(Metric):
    """F1 over every label of every row, each said from 0.5 on; frequent labels weigh more."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P of each label (N, K); target: 0 and 1 (N, K)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The figure; NaN where no label is true or said."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right, said plus true, (N, 2)."""
        said_NK, true_NK = prediction >= 0.5, target == 1
        return np.stack([(said_NK & true_NK).sum(axis=1), said_NK.sum(axis=1) + true_NK.sum(axis=1)], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return ratio(2 * sums_S[0], sums_S[1])
