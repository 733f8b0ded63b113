"""Entity F1: the harmonic mean of precision and recall of whole entities, both ends and the type right (CoNLL 2003)."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import ratio
from lode.model.transitions import aligned, matched, spans


class EntityF1(Metric):
    """F1 over entities; one that is a token too long or of another type is wrong on both counts.

    prediction, target: code, mark and type of each step (N, T, 3); -1 where there is none.
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right, said plus true, (N, 2)."""
        said, true = spans(aligned(prediction, target)[:, :, 1:]), spans(target[:, :, 1:])
        right_N = np.bincount(said[matched(said, true), 0], minlength=len(target))
        either_N = np.bincount(said[:, 0], minlength=len(target)) + np.bincount(true[:, 0], minlength=len(target))
        return np.stack([right_N, either_N], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return ratio(2 * sums_S[0], sums_S[1])
