"""Token accuracy: the share of tokens whose tag is right."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, added, ratio
from lode.model.transitions import aligned


class TokenAccuracy(Metric):
    """Share of tokens tagged rightly; most tokens are outside of entities, so it is high for every model."""

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction, target: code, mark and type of each step (N, T, 3); -1 where there is none."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The share; NaN of no tokens."""
        prediction, target, weight_N = self._rows.all()
        return self.of(added(self.units(prediction, target), weight_N)) if len(target) else float("nan")

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right and all tokens, (N, 2)."""
        true_NT = target[:, :, 0]
        right_NT = (aligned(prediction, target)[:, :, 0] == true_NT) & (true_NT >= 0)
        return np.stack([right_NT.sum(axis=1), (true_NT >= 0).sum(axis=1)], axis=1).astype(np.float64)

    def of(self, sums_S: np.ndarray) -> float:
        """The share."""
        return ratio(sums_S[0], sums_S[1])
