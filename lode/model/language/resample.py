"""Bootstrap intervals of means over units that hold different numbers of tokens: documents, or blocks of one long text."""

from __future__ import annotations

import math

import numpy as np

from lode.model.bootstrap import LEVEL, Interval, draws

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def ratio(sums_U: np.ndarray, counts_U: np.ndarray, resamples: int, seed: int) -> Interval:
    """Sum over sum, and the percentile interval of it when whole units are drawn with replacement.

    sums_U: of each unit (nats, or the difference of two models' nats); counts_U: its tokens. NaN where there are none, and no interval
    (NaN) with one unit.
    """
    total = counts_U.sum()
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    value = float(sums_U.sum() / total)
    if len(sums_U) < 2:
        return Interval(value, math.nan, math.nan)
    both_U2 = np.stack([sums_U, counts_U], axis=1).astype(np.float64)
    drawn = np.array([drawn_U @ both_U2 for drawn_U in draws(len(both_U2), resamples, seed)])
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def wilson(right: int, total: int) -> Interval:
    """A share and its 95 % interval by Wilson's score (1927), which holds for few questions too. NaN where there are none."""
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    share, spread = right / total, _Z * _Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))
