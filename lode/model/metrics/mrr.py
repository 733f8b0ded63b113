"""MRR: one over the place of the first relevant row."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import Ranked, ranked


class Mrr(Metric):
    """Mean over groups of one over the place of the first relevant row.

    prediction: scores (N,); target: relevance, group and hit (N, 3).
    """

    higher_is_better = True
    grouped = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Figure and one of each group that has a relevant row, (G, 2)."""
        found = [(_reciprocal(group), 1.0) for group in ranked(prediction, target[:, 2], target[:, 1]) if group.best[0] > 0]
        return np.array(found, dtype=np.float64).reshape(-1, 2)


def _reciprocal(group: Ranked) -> float:
    """One over the place of the first hit, which is any of the hits in the first block of equal scores that has one."""
    hits_B = np.add.reduceat((group.relevance > 0).astype(np.int64), group.start)
    first = int(np.argmax(hits_B > 0))
    hits, size = int(hits_B[first]), int(group.size[first])
    left_J = size - np.arange(size - hits + 1)
    # Of rows drawn one by one: a miss so far each time, then a hit.
    missed_J = np.append(1.0, np.cumprod((left_J[:-1] - hits) / left_J[:-1]))
    return float((missed_J * hits / left_J / (group.start[first] + np.arange(len(left_J)) + 1)).sum())
