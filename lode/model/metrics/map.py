"""MAP: mean average precision of the order within groups."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import Ranked, ranked


class Map(Metric):
    """Mean over groups of the mean precision at each relevant row, from the first answer down.

    prediction: scores (N,); target: relevance, group and hit (N, 3).
    """

    higher_is_better = True
    grouped = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Figure and one of each group that has a relevant row, (G, 2)."""
        found = [(_precision(group), 1.0) for group in ranked(prediction, target[:, 2], target[:, 1]) if group.best[0] > 0]
        return np.array(found, dtype=np.float64).reshape(-1, 2)


def _precision(group: Ranked) -> float:
    """Mean precision at the hits, over all orders of rows of equal scores."""
    hit_R = (group.relevance > 0).astype(np.float64)
    hits_B = np.add.reduceat(hit_R, group.start)
    before_R = np.repeat(np.cumsum(hits_B) - hits_B, group.size)
    place_R = np.arange(len(hit_R))
    # Above a hit at a place in its block, the block's other hits are spread evenly over its other rows.
    others_R = np.repeat((hits_B - 1.0) / np.maximum(group.size - 1, 1), group.size) * (
        place_R - np.repeat(group.start, group.size)
    )
    return float((group.expected(hit_R) * (before_R + others_R + 1.0) / (place_R + 1.0)).sum() / hit_R.sum())
