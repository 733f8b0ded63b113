"""NDCG@10: worth of the ten rows answered first, against the best order (Jarvelin and Kekalainen 2002)."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import ranked

_PLACES = 10


class Ndcg(Metric):
    """Mean over groups of DCG@10 / best DCG@10, gain 2^relevance - 1, discount log2(1 + place).

    prediction: scores (N,); target: relevance, group and hit (N, 3).
    """

    higher_is_better = True
    grouped = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Figure and one of each group that has a relevant row, (G, 2)."""
        groups = [group for group in ranked(prediction, target[:, 0], target[:, 1]) if group.best[0] > 0]
        found = [(_dcg(group.expected(_gain(group.relevance))) / _dcg(_gain(group.best)), 1.0) for group in groups]
        return np.array(found, dtype=np.float64).reshape(-1, 2)


def _gain(relevance: np.ndarray) -> np.ndarray:
    return np.asarray(2.0**relevance - 1.0)


def _dcg(gain: np.ndarray) -> float:
    first = gain[:_PLACES]
    return float((first / np.log2(np.arange(2, len(first) + 2))).sum())
