"""Token accuracy: the share of tokens whose tag is right."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.transitions import aligned


class TokenAccuracy(Metric):
    """Share of tokens tagged rightly; most tokens are outside of entities, so it is high for every model.

    prediction, target: code, mark and type of each step (N, T, 3); -1 where there is none.
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Right and all tokens, (N, 2)."""
        true_NT = target[:, :, 0]
        right_NT = (aligned(prediction, target)[:, :, 0] == true_NT) & (true_NT >= 0)
        return np.stack([right_NT.sum(axis=1), (true_NT >= 0).sum(axis=1)], axis=1).astype(np.float64)
