"""Numbers: scaled for networks, raw for trees. Scaling is robust to outliers, as in RealMLP (Holzmueller et al. 2024, arXiv 2407.04491).

Reads cells with lode/data/cells.py; read lode/data/contracts.py first.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State

_SOFT_LIMIT = 3.0
_HARD_LIMIT = 1e6
_NUM_KNOTS = 1_000
_TAIL = 1e-4
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_EPS = float(np.finfo(np.float32).eps)


class Number(Feature):
    """A number: a price, an age, a count. Infinities are rejected.

    A missing cell becomes the middle, with a flag beside it where training had any.

    Args:
        scale: how a network sees it: "robust" (median and quartiles, tails bent smoothly into -3 to 3), "standard" (mean and
            deviation), "quantile" (rank, as a normal variable) or "none".
    """

    kind: ClassVar[Literal["number"]] = "number"
    expects: ClassVar[str] = "a number"

    def __init__(self, *, scale: Literal["robust", "standard", "quantile", "none"] = "robust") -> None:
        self.scale = scale
        self._center = 0.0
        self._factor = 0.0
        self._shift = 0.0
        self._has_missing = False
        self._knots = np.zeros(0)
        self._ranks = np.zeros(0)

    def parse(self, column: pl.Series) -> pl.Series:
        return cells.numbers(column)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        values = _floats(column)
        missing = np.isnan(values)
        self._has_missing = bool(missing.any())
        known = values[~missing] if self._has_missing else values.copy()
        self._center, self._factor, self._shift = 0.0, 0.0, 0.0
        self._knots = self._ranks = np.zeros(0)
        if not len(known):
            return
        known.sort()
        low, median, high = (_quantile(known, share) for share in (0.25, 0.5, 0.75))
        spread, mean, deviation = high - low, median, 0.0
        has_spread = 0 < spread < np.inf
        if self.scale != "robust" or not has_spread:
            mean, deviation = _mean_and_deviation(known)
            spread = spread if has_spread else deviation
        if _largest(known) * _FLOAT32_EPS > 1e-3 * spread > 0:
            self._shift = median  # float32 would swallow the differences of, say, 20240131 and 20240201
        if self.scale == "robust":
            self._center, self._factor = median, 1.0 / spread if spread > 0 else 0.0
        else:
            self._center, self._factor = mean, 1.0 / deviation if deviation > 0 else 0.0
        if self.scale == "quantile":
            self._knots, self._ranks = _ranks(known)

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        values = _floats(column)
        missing = np.isnan(values)
        array = np.empty((len(values), 2 if self._has_missing else 1), dtype=np.float32)
        array[:, 0] = self._scaled(values, missing)
        if self._has_missing:
            array[:, 1] = missing
        return array

    def _scaled(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        if self.scale == "none":
            return np.clip(np.where(missing, self._center, values), -_FLOAT32_MAX, _FLOAT32_MAX)
        if self.scale == "quantile":
            if len(self._knots) < 2:
                return np.zeros(len(values))
            ranks = np.interp(np.where(missing, self._knots[0], values), self._knots, self._ranks)
            from scipy.special import ndtri  # 0.2 s to import: only who asks for quantiles waits for it

            return np.where(missing, 0.0, ndtri(np.clip(ranks, _TAIL, 1.0 - _TAIL)))
        with np.errstate(over="ignore"):
            scaled = (values - self._center) * self._factor
        np.minimum(np.maximum(scaled, -_HARD_LIMIT, out=scaled), _HARD_LIMIT, out=scaled)
        scaled[missing] = 0.0
        if self.scale == "robust":
            bend = scaled * (1.0 / _SOFT_LIMIT)
            bend *= bend
            bend += 1.0
            scaled /= np.sqrt(bend, out=bend)
        return scaled

    def inverse(self, array: np.ndarray) -> pl.Series:
        scaled = array[:, 0].astype(np.float64)
        if self.scale == "quantile":
            from scipy.special import ndtr

            values = np.interp(ndtr(scaled), self._ranks, self._knots) if len(self._knots) else scaled
        elif self.scale == "none":
            values = scaled
        else:
            if self.scale == "robust":
                bent = np.clip(scaled / _SOFT_LIMIT, -1.0 + 1e-12, 1.0 - 1e-12)
                scaled = _SOFT_LIMIT * bent / np.sqrt(1.0 - bent * bent)
            values = self._center + (scaled / self._factor if self._factor else np.zeros_like(scaled))
        if self._has_missing:
            values = np.where(array[:, 1] > 0.5, np.nan, values)
        return pl.Series(values, nan_to_null=True)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (2 if self._has_missing else 1,))

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (0,))

    def flat(self, column: pl.Series) -> np.ndarray:
        values = _floats(column)
        if self._shift:
            values = values - self._shift
        return np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32).reshape(-1, 1)

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        scalars = {
            "center": self._center,
            "factor": self._factor,
            "shift": self._shift,
            "has_missing": self._has_missing,
        }
        return {**scalars, "knots": self._knots, "ranks": self._ranks}

    def restore(self, state: State) -> None:
        self._center, self._factor, self._shift = (float(state[key]) for key in ("center", "factor", "shift"))
        self._has_missing = bool(state["has_missing"])
        self._knots, self._ranks = (np.asarray(state[key], dtype=np.float64) for key in ("knots", "ranks"))


def _floats(column: pl.Series) -> np.ndarray:
    """float64 (N,), NaN where null. Not to be written to."""
    return (column if column.dtype == pl.Float64 else column.cast(pl.Float64)).to_numpy()


def _largest(known: np.ndarray) -> float:
    """The largest size of a number of an ascending array."""
    return max(abs(float(known[0])), abs(float(known[-1])))


def _quantile(known: np.ndarray, share: float) -> float:
    """A quantile of an ascending array, to the bit what np.quantile gives. To sort once is faster than its search for three."""
    place = share * (len(known) - 1)
    before = int(place)
    part = place - before
    low = float(known[before])
    if part == 0.0:
        return low
    high = float(known[before + 1])
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1.0 - part)


def _mean_and_deviation(known: np.ndarray) -> tuple[float, float]:
    """Of an ascending array. Both finite, for values up to the largest float too."""
    size = _largest(known) or 1.0
    unit = known / size
    deviation = float(unit.std())
    if deviation < 1e-12 * max(1.0, abs(float(unit.mean()))):
        deviation = 0.0  # a constant column: what is left is rounding
    return float(unit.mean()) * size, min(deviation * size, _FLOAT32_MAX)


def _ranks(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values (K,) and the share of training below each (K,), ties in the middle of their share."""
    shares = np.linspace(0.0, 1.0, min(_NUM_KNOTS, max(len(known), 2)))
    values, position = np.unique(np.quantile(known, shares), return_inverse=True)
    return values, np.bincount(position, weights=shares) / np.bincount(position)
