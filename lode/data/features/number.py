"""Numbers: scaled for networks, raw for trees. Scaling is robust to outliers, as in RealMLP (Holzmueller et al. 2024, arXiv 2407.04491).

Reads cells with lode/data/cells.py; the scalings that are no straight line are in lode/data/encoding/warps.py. Read
lode/data/contracts.py first.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.encoding import warps

_SOFT_LIMIT = 3.0
_HARD_LIMIT = 1e6
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_EPS = float(np.finfo(np.float32).eps)
_CURVED = frozenset({"quantile", "power", "log"})
"""Scalings that change what a linear model can say, so that it gets them too."""


class Number(Feature):
    """A number: a price, an age, a count. Infinities are rejected.

    A missing cell becomes the middle, with a flag beside it where training had any. Baselines see the raw number, but scaled where the
    scaling is no straight line ("quantile", "power", "log") and in bins where there are any.

    Args:
        scale: how a network sees it: "robust" (median and quartiles, tails bent smoothly into -3 to 3), "standard" (mean and
            deviation), "minmax" (smallest 0, largest 1), "quantile" (rank, as a normal variable), "power" (Yeo-Johnson), "log"
            (logarithm of 1 + size, with its sign) or "none".
        bins: piecewise-linear encoding: so many bins of equal counts, one number for each, which runs from 0 to 1 within its bin.
    """

    kind: ClassVar[Literal["number"]] = "number"
    expects: ClassVar[str] = "a number"

    def __init__(
        self,
        *,
        scale: Literal["robust", "standard", "minmax", "quantile", "power", "log", "none"] = "robust",
        bins: Annotated[int, Range(2, 256)] | None = None,
    ) -> None:
        self.scale = scale
        self.bins = bins
        self._center = 0.0
        self._factor = 0.0
        self._shift = 0.0
        self._fill = 0.0
        self._has_missing = False
        self._flat_curved = scale in _CURVED
        self._knots = np.zeros(0)
        self._ranks = np.zeros(0)
        self._edges = np.zeros(0)
        self._power = warps.Power()

    def parse(self, column: pl.Series) -> pl.Series:
        return cells.numbers(column)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        values = _floats(column)
        missing = np.isnan(values)
        self._has_missing = bool(missing.any())
        # What can be written to is no view of the column: polars had to put it together.
        known = values[~missing] if self._has_missing or not values.flags.writeable else values
        self._center, self._factor, self._shift, self._fill = 0.0, 0.0, 0.0, 0.0
        self._knots = self._ranks = self._edges = np.zeros(0)
        self._flat_curved = self.scale in _CURVED
        if not len(known):
            return
        known.sort()
        if self.scale in ("power", "log"):
            self._power = warps.Power.fit(known) if self.scale == "power" else self._power
            self._center, deviation = _mean_and_deviation(self._bent(known))
            self._factor = 1.0 / deviation if deviation > 0 else 0.0
        else:
            self._fit_line(known)
        if self.scale == "quantile":
            self._knots, self._ranks = warps.ranks(known)
        if self.bins is not None:
            self._edges = warps.edges(self._scaled(known, np.zeros(len(known), dtype=bool)), self.bins)

    def _fit_line(self, known: np.ndarray) -> None:
        """Centre and factor from the known numbers, ascending."""
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
        elif self.scale == "minmax":
            width = min(float(known[-1]) / 2 - float(known[0]) / 2, _FLOAT32_MAX) * 2
            self._center, self._factor = float(known[0]), 1.0 / width if width > 0 else 0.0
            self._fill = min((median - self._center) * self._factor, 1.0)
        else:
            self._center, self._factor = mean, 1.0 / deviation if deviation > 0 else 0.0

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        values = _floats(column)
        missing = np.isnan(values)
        array = np.empty((len(values), self._width + self._has_missing), dtype=np.float32)
        scaled = self._scaled(values, missing)
        if self.bins is None:
            array[:, 0] = scaled
        else:
            array[:, : self._width] = warps.piecewise(scaled, self._edges)
        if self._has_missing:
            array[:, -1] = missing
        return array

    @property
    def _width(self) -> int:
        """How many numbers stand for one, the flag of missing cells left out."""
        return max(len(self._edges) - 1, 1)

    def _bent(self, values: np.ndarray) -> np.ndarray:
        return self._power.bend(values) if self.scale == "power" else warps.signed_log(values)

    def _scaled(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        if self.scale == "none":
            return np.clip(np.where(missing, self._center, values), -_FLOAT32_MAX, _FLOAT32_MAX)
        if self.scale == "quantile":
            return warps.normal(values, missing, self._knots, self._ranks)
        with np.errstate(over="ignore"):
            given = self._bent(values) if self.scale in ("power", "log") else values
            scaled = np.subtract(given, self._center)
            scaled *= self._factor
        np.minimum(np.maximum(scaled, -_HARD_LIMIT, out=scaled), _HARD_LIMIT, out=scaled)
        if missing.any():
            scaled[missing] = self._fill
        if self.scale == "robust":
            bend = scaled * (1.0 / _SOFT_LIMIT)
            bend *= bend
            bend += 1.0
            scaled /= np.sqrt(bend, out=bend)
        return scaled

    def inverse(self, array: np.ndarray) -> pl.Series:
        scaled = array[:, 0].astype(np.float64)
        if self.bins is not None:
            scaled = warps.piecewise_inverse(array[:, : self._width].astype(np.float64), self._edges)
        if self.scale == "quantile":
            values = warps.normal_inverse(scaled, self._knots, self._ranks)
        elif self.scale == "none":
            values = scaled
        else:
            if self.scale == "robust":
                bent = np.clip(scaled / _SOFT_LIMIT, -1.0 + 1e-12, 1.0 - 1e-12)
                scaled = _SOFT_LIMIT * bent / np.sqrt(1.0 - bent * bent)
            values = self._center + (scaled / self._factor if self._factor else np.zeros_like(scaled))
            if self.scale == "power":
                values = self._power.straighten(values)
            elif self.scale == "log":
                values = warps.signed_exp(values)
        if self._has_missing:
            values = np.where(array[:, -1] > 0.5, np.nan, values)
        return pl.Series(values, nan_to_null=True)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (self._width + self._has_missing,))

    @property
    def flat_spec(self) -> FlatSpec:
        if self.bins is None:
            return FlatSpec(("",), (0,))
        return FlatSpec(tuple(f"bin{place}" for place in range(1, self._width + 1)), (0,) * self._width)

    def flat(self, column: pl.Series) -> np.ndarray:
        values = _floats(column)
        if self.bins is not None or self._flat_curved:
            missing = np.isnan(values)
            scaled = self._scaled(values, missing)
            parts = scaled.reshape(-1, 1) if self.bins is None else warps.piecewise(scaled, self._edges)
            parts = parts.astype(np.float32)
            parts[missing] = np.nan
            return parts
        if self._shift:
            values = values - self._shift
        return np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32).reshape(-1, 1)

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        scalars: State = {
            "center": self._center,
            "factor": self._factor,
            "shift": self._shift,
            "has_missing": self._has_missing,
        }
        if self._flat_curved:
            scalars["flat_curved"] = True
        if self.scale == "minmax":
            scalars["fill"] = self._fill
        if self.scale == "power":
            scalars["power"] = self._power.to_json()
        if self.bins is not None:
            scalars["edges"] = self._edges
        return {**scalars, "knots": self._knots, "ranks": self._ranks}

    def restore(self, state: State) -> None:
        self._center, self._factor, self._shift = (float(state[key]) for key in ("center", "factor", "shift"))
        self._has_missing = bool(state["has_missing"])
        self._knots, self._ranks = (np.asarray(state[key], dtype=np.float64) for key in ("knots", "ranks"))
        # The first artifacts gave baselines the raw number whatever its scaling, and had no bins.
        self._flat_curved = bool(state.get("flat_curved", False))
        self._fill = float(state.get("fill", 0.0))
        self._edges = np.asarray(state.get("edges", ()), dtype=np.float64)
        if "power" in state:
            self._power = warps.Power(**state["power"])


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
    mean = float(unit.mean())
    unit -= mean  # in place, what `std` would do in new arrays
    unit *= unit
    deviation = math.sqrt(unit.mean())
    if deviation < 1e-12 * max(1.0, abs(mean)):
        deviation = 0.0  # a constant column: what is left is rounding
    return mean * size, min(deviation * size, _FLOAT32_MAX)
