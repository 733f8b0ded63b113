"""Recall@1: how often the nearest other row has the same label."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import fellows


class RecallAt1(Metric):
    """Share of rows whose nearest neighbour, by the cosine, is of their label; rows without a fellow are left out.

    prediction: unit vectors (N, K); target: codes (N,).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Hit and one; zeros for rows without a fellow, (N, 2)."""
        found = np.zeros((len(target), 2))
        for place_C, same_CN, num_C in fellows(prediction, target):
            found[place_C] = np.stack([same_CN[:, :1].any(axis=1), np.ones(len(place_C))], axis=1) * (num_C > 0)[:, None]
        return found
