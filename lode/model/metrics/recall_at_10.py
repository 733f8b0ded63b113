"""Recall@10: how many of the relevant rows are among the ten answered first."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import ranked
from lode.model.rows import Rows, ratio


class RecallAt10(Metric):
    """Mean over groups of the share of relevant rows among the first ten."""

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
        found = [
            (float(group.expected(group.relevance > 0)[:10].sum() / (group.relevance > 0).sum()), 1.0)
            for group in ranked(prediction, target[:, 2], target[:, 1])
            if group.best[0] > 0
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    def of(self, sums_S: np.ndarray) -> float:
        """The mean."""
        return ratio(sums_S[0], sums_S[1])
