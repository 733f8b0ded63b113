"""MAE: the mean absolute error, in the unit of the target."""

from __future__ import annotations

import numpy as np

from lode.model.contracts import Metric
from lode.model.rows import counted


class Mae(Metric):
    """Mean absolute error.

    prediction: numbers (N,); target: numbers (N,).
    """

    higher_is_better = False

    def units(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Error and one, (N, 2)."""
        return counted(np.abs(target - prediction))
