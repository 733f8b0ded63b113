"""NDCG@10: worth of the ten rows answered first, against the best order (Jarvelin and Kekalainen 2002)."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import ranked
from lode.model.rows import Rows, ratio

_PLACES = 10


class Ndcg(Metric):
    """Mean over groups of DCG@10 / best DCG@10, gain 2^relevance - 1, discount log2(1 + place)."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: scores (N,); target: relevance, group and hit (N, 3); weight: 0 leaves a row out."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The mean over groups; NaN where no group has a relevant row."""
        prediction, target, _ = self._rows.all()
        return self.of(self.units(prediction, target).sum(axis=0)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Figure and one of each group that has a relevant row, (G, 2)."""
        groups = [group for group in ranked(prediction, target[:, 0], target[:, 1]) if group.best[0] > 0]
        found = [(_dcg(group.expected(_gain(group.relevance))) / _dcg(_gain(group.best)), 1.0) for group in groups]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    def of(self, sums_S: np.ndarray) -> float:
        """The mean."""
        return ratio(sums_S[0], sums_S[1])


def _gain(relevance: np.ndarray) -> np.ndarray:
    return np.asarray(2.0**relevance - 1.0)


def _dcg(gain: np.ndarray) -> float:
    first = gain[:_PLACES]
    return float((first / np.log2(np.arange(2, len(first) + 2))).sum())
