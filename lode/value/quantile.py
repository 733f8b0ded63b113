"""What the policies for numbers share: the shift of a prediction at which too much and too little are in balance."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from lode.core.errors import DataError


def critical_quantile(values: np.ndarray, short: Fraction, over: Fraction) -> float:
    """The smallest value v of which at least short / (short + over) of the values (N,) are not above it.

    Of all single numbers this one costs least, exactly, where a unit too little costs `short` and one too much costs `over`.
    Errors: DataError of no finite value.
    """
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        raise DataError("value: no row has a prediction and an outcome, at least one is needed. Check the output's column")
    rank = -(-(short * len(finite)) // (short + over))
    return float(finite[max(1, int(rank)) - 1])
