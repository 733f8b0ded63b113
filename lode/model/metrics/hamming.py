"""Hamming loss: the share of labels, present or not, that are said wrongly."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio


class Hamming(Metric):
    """Share of all label decisions (rows times labels) that are wrong; each label is said from 0.5 on."""

    higher_is_better = False

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P of each label (N, K); target: 0 and 1 (N, K)."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The share; NaN of no rows."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Wrong decisions and decisions, (N, 2)."""
        wrong_N = ((prediction >= 0.5) != (target == 1)).sum(axis=1)
        return np.stack([wrong_N, np.full(len(target), target.shape[1])], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """Wrong over all."""
        return ratio(sums_S[0], sums_S[1])
