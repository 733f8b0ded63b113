"""Curves that numbers are bent by, and bins that they are laid in. Used by features/number.py.

Yeo-Johnson and ranks give scikit-learn's figures (tests/unit/data/test_features_options.py compares them on real columns). scipy takes
0.2 s to import, so only who asks for such a curve waits for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_NUM_KNOTS = 1_000
_TAIL = 1e-4
_MAX_SAMPLE = 100_000
_LARGE = 1e9
_LARGEST = float(np.finfo(np.float64).max)
_MIN_SPREAD = 1e-9
_LIMIT = 1e300


@dataclass(frozen=True, slots=True)
class Power:
    """The power transform of Yeo and Johnson (2000), which takes any sign.

    With y = (x - origin) / unit and m = exponent: ((1 + y)^m - 1) / m for y >= 0, and -((1 - y)^(2 - m) - 1) / (2 - m) below;
    logarithms where the power is 0. The exponent makes the result most like a normal variable (largest likelihood).
    origin, unit: 0 and 1 unless the numbers are too large, or too far from 0 for their spread.
    """

    exponent: float = 1.0
    origin: float = 0.0
    unit: float = 1.0

    @classmethod
    def fit(cls, known: np.ndarray) -> Power:
        """known: ascending, at least one; of many, 100,000 at equal steps of rank decide.

        Far from 0 the best power can press all numbers into one (longitudes around -120 come out equal to 13 digits); such numbers are
        standardised first. So are those whose powers would overflow.
        """
        sample = known[:: -(-len(known) // _MAX_SAMPLE)]
        if max(abs(known[0]), abs(known[-1])) <= _LARGE:
            found = cls(_exponent(sample))
            bent = found.bend(sample)
            if bent[-1] - bent[0] > _MIN_SPREAD * max(abs(bent[0]), abs(bent[-1])):
                return found
        origin = float(known[len(known) // 2])
        unit = max(float(known[-1]) / 4 - origin / 4, origin / 4 - float(known[0]) / 4)
        unit = min(4 * min(unit, _LARGEST / 8), _LARGEST) or 1.0
        return cls(_exponent((sample - origin) / unit), origin, unit)

    def bend(self, values: np.ndarray) -> np.ndarray:
        """float64 (N,), finite; NaN stays NaN."""
        from scipy.special import boxcox1p

        with np.errstate(over="ignore", invalid="ignore"):
            y = (values - self.origin) / self.unit
            bent = np.where(
                y >= 0, boxcox1p(np.maximum(y, 0.0), self.exponent), -boxcox1p(np.maximum(-y, 0.0), 2.0 - self.exponent)
            )
        bent[np.isnan(values)] = np.nan
        return np.clip(bent, -_LIMIT, _LIMIT)

    def straighten(self, bent: np.ndarray) -> np.ndarray:
        """The numbers again."""
        from scipy.special import inv_boxcox1p

        with np.errstate(over="ignore", invalid="ignore"):
            above = inv_boxcox1p(np.maximum(bent, 0.0), self.exponent)
            below = -inv_boxcox1p(np.maximum(-bent, 0.0), 2.0 - self.exponent)
        return np.nan_to_num(np.where(bent >= 0, above, below)) * self.unit + self.origin

    def to_json(self) -> dict[str, float]:
        """Its three numbers."""
        found: dict[str, Any] = asdict(self)
        return found


def _exponent(values: np.ndarray) -> float:
    """The power of largest likelihood (ascending values); 1 where they are all equal."""
    if values[0] == values[-1]:
        return 1.0
    from scipy import stats

    with np.errstate(all="ignore"):
        exponent = float(stats.yeojohnson_normmax(values))
    return exponent if np.isfinite(exponent) else 1.0


def signed_log(values: np.ndarray) -> np.ndarray:
    """log(1 + |x|) with the sign of x."""
    return np.copysign(np.log1p(np.abs(values)), values)


def signed_exp(values: np.ndarray) -> np.ndarray:
    """The inverse of `signed_log`."""
    return np.copysign(np.expm1(np.minimum(np.abs(values), 709.0)), values)


def ranks(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values (K,) and the share of training below each (K,), ties in the middle of their share. known: ascending."""
    shares = np.linspace(0.0, 1.0, min(_NUM_KNOTS, max(len(known), 2)))
    values, position = np.unique(np.quantile(known, shares), return_inverse=True)
    return values, np.bincount(position, weights=shares) / np.bincount(position)


def normal(values: np.ndarray, missing: np.ndarray, knots: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The rank of each value as a normal variable, float64 (N,); 0 where missing."""
    if len(knots) < 2:
        return np.zeros(len(values))
    rank = np.interp(np.where(missing, knots[0], values), knots, shares)
    from scipy.special import ndtri

    return np.where(missing, 0.0, ndtri(np.clip(rank, _TAIL, 1.0 - _TAIL)))


def normal_inverse(scaled: np.ndarray, knots: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The numbers again."""
    from scipy.special import ndtr

    return np.interp(ndtr(scaled), shares, knots) if len(knots) else scaled


def edges(scaled: np.ndarray, num_bins: int) -> np.ndarray:
    """Borders of bins with equal counts, ascending and distinct: at most num_bins + 1 of them, none where all numbers are equal."""
    found = np.unique(np.quantile(scaled, np.linspace(0.0, 1.0, num_bins + 1)))
    return found if len(found) > 1 else np.zeros(0)


def piecewise(scaled: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Piecewise-linear encoding, float64 (N, T): per bin 0 below it, 1 above it, in it the share of the way through.

    Gorishniy, Rubachev, Babenko 2022, arXiv 2203.05556, equation 1, bins by quantiles (section 3.2.1). Beyond the first and the last
    border it stays at 0 and 1, where the paper goes on: a number that training never saw must not grow without bound.
    """
    if len(borders) < 2:
        return np.zeros((len(scaled), 1))
    parts = (scaled.reshape(-1, 1) - borders[:-1]) / np.diff(borders)
    return np.clip(parts, 0.0, 1.0, out=parts)


def piecewise_inverse(parts: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """The scaled numbers (N,) again."""
    if len(borders) < 2:
        return np.zeros(len(parts))
    return np.asarray(borders[0] + parts @ np.diff(borders))
