"""Entity F1: the harmonic mean of precision and recall of whole entities, both ends and the type right (CoNLL 2003)."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio
from lode.model.transitions import aligned, matched, spans


class EntityF1(Metric):
    """F1 over entities; one that is a token too long or of another type is wrong on both counts."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction, target: code, mark and type of each step (N, T, 3); -1 where there is none."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The figure; NaN where no entity is true or said."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right, said plus true, (N, 2)."""
        said, true = spans(aligned(prediction, target)[:, :, 1:]), spans(target[:, :, 1:])
        right_N = np.bincount(said[matched(said, true), 0], minlength=len(target))
        either_N = np.bincount(said[:, 0], minlength=len(target)) + np.bincount(true[:, 0], minlength=len(target))
        return np.stack([right_N, either_N], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return ratio(2 * sums_S[0], sums_S[1])
