"""Hamming loss: the share of labels, present or not, that are said wrongly."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric


class Hamming(Metric):
    """Share of all label decisions (rows times labels) that are wrong; each label is said from 0.5 on.

    prediction: P of each label (N, K); target: 0 and 1 (N, K).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Wrong decisions and decisions, (N, 2)."""
        wrong_N = ((prediction >= 0.5) != (target == 1)).sum(axis=1)
        return np.stack([wrong_N, np.full(len(target), target.shape[1])], axis=1).astype(np.float64)
