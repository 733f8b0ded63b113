"""Recall@10: how many of the relevant rows are among the ten answered first."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import ranked


class RecallAt10(Metric):
    """Mean over groups of the share of relevant rows among the first ten.

    prediction: scores (N,); target: relevance, group and hit (N, 3).
    """

    higher_is_better = True
    grouped = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Figure and one of each group that has a relevant row, (G, 2)."""
        found = [
            (float(group.expected(group.relevance > 0)[:10].sum() / (group.relevance > 0).sum()), 1.0)
            for group in ranked(prediction, target[:, 2], target[:, 1])
            if group.best[0] > 0
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 2)
