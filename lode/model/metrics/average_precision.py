"""Average precision: the area under the precision-recall curve, as a sum of steps."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import groups


class AveragePrecision(Metric):
    """Mean precision over the positives, from the highest prediction down; of several labels the mean over those that occur.

    Guessing gives the share of positives, 1 is perfect.
    prediction: P(positive) (N,), or P of each label (N, K); target: codes 0 or 1 of the same shape.
    """

    higher_is_better = True

    def compute(self, prediction: np.ndarray, target: np.ndarray, weight_N: np.ndarray) -> float:
        """The sum of recall steps times precision; NaN where there is no positive."""
        if target.ndim == 1:
            return _of_one(prediction, target, weight_N)
        each = [_of_one(prediction[:, code], target[:, code], weight_N) for code in range(target.shape[1])]
        found = [value for value in each if not np.isnan(value)]
        return float(np.mean(found)) if found else float("nan")


def _of_one(prediction_N: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray) -> float:
    positives_G, negatives_G = groups(prediction_N, target_N, weight_N)
    num_positive = positives_G.sum()
    if num_positive <= 0:
        return float("nan")
    precision_G = np.cumsum(positives_G) / np.cumsum(positives_G + negatives_G)
    return float((precision_G * positives_G).sum() / num_positive)
