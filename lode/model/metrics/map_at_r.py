"""mAP@R: mean average precision among as many neighbours as a row has fellows (Musgrave 2020, arXiv 2003.08505)."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.neighbours import fellows


class MapAtR(Metric):
    """Mean over rows of the precision at each fellow among the R nearest rows, R the number of its fellows.

    prediction: unit vectors (N, K); target: codes (N,).
    """

    higher_is_better = True

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Precision and one; zeros for rows without a fellow, (N, 2)."""
        found = np.zeros((len(target), 2))
        for place_C, same_CN, num_C in fellows(prediction, target):
            within_CN = np.arange(same_CN.shape[1]) < num_C[:, None]
            hits_CN = np.cumsum(same_CN, axis=1) / np.arange(1, same_CN.shape[1] + 1)
            sum_C = (hits_CN * same_CN * within_CN).sum(axis=1)
            found[place_C] = np.stack([sum_C / np.maximum(num_C, 1), num_C > 0], axis=1)
        return found
