"""Average precision: the area under the precision-recall curve, as a sum of steps."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import Rows, groups


class AveragePrecision(Metric):
    """Mean precision over the positives, from the highest prediction down; of several labels the mean over those that occur.

    Guessing gives the share of positives, 1 is perfect.
    """

    higher_is_better = True

    def __init__(self) -> None:
        self._rows = Rows()

    def update(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Add rows. prediction: P(positive) (N,), or P of each label (N, K); target: codes 0 or 1 of the same shape."""
        self._rows.add(prediction, target, weight)

    def compute(self) -> float:
        """The sum of recall steps times precision; NaN where there is no positive."""
        prediction, target, weight_N = self._rows.all()
        if target.ndim == 1:
            return _of_one(prediction, target, weight_N)
        each = [_of_one(prediction[:, code], target[:, code], weight_N) for code in range(target.shape[1])]
        found = [value for value in each if not np.isnan(value)]
        return float(np.mean(found)) if found else float("nan")


def _of_one(prediction_N: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray) -> float:
    if not len(target_N):
        return float("nan")
    positives_G, negatives_G = groups(prediction_N, target_N, weight_N)
    num_positive = positives_G.sum()
    if num_positive <= 0:
        return float("nan")
    precision_G = np.cumsum(positives_G) / np.cumsum(positives_G + negatives_G)
    return float((precision_G * positives_G).sum() / num_positive)
