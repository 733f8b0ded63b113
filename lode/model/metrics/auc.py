"""Area under the ROC curve: how often a positive is ranked above a negative."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import groups


class Auc(Metric):
    """Area under the ROC curve; ties count half. 0.5 is guessing, 1 is perfect.

    prediction: P(positive) (N,); target: codes 0 or 1 (N,).
    """

    higher_is_better = True

    def compute(self, prediction: np.ndarray, target: np.ndarray, weight_N: np.ndarray) -> float:
        """The area; NaN where one of the two classes is missing."""
        positives_G, negatives_G = groups(prediction, target, weight_N)
        pairs = positives_G.sum() * negatives_G.sum()
        if pairs <= 0:
            return float("nan")
        above_G = np.cumsum(positives_G) - positives_G
        return float((negatives_G * (above_G + positives_G / 2)).sum() / pairs)
