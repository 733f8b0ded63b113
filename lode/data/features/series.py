"""Series of numbers: every cell is one, as long as it is. How cells are read is in lode/data/encoding/lists.py; read
lode/data/contracts.py first.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data.contracts import Feature, State
from lode.data.encoding.lists import gathered, laid_flat, number_lists

_MOST_STEPS = 4_096
_LIMIT = 1e6
"""Standardised numbers are cut off here, so that float32 holds them."""
_PARTS = 8
_FIGURES = ("mean", "spread", "low", "high", "first", "last", "step")


class Series(Feature):
    """A series of numbers in their order: a list (of numbers, or of steps with `channels` numbers each), or a text such as "1.0 2.5 nan".

    Gaps inside are filled on a straight line between their neighbours, those at an end with the nearest number. Of a longer series the
    last `length` steps are kept. Steps behind the end are NaN in the array.

    Args:
        channels: numbers of each step; a flat list then holds step after step.
        length: so many steps are kept at most; without it, the longest series in training, 4,096 at most.
        scale: standard (mean 0 and spread 1 over all training steps, per channel), row (over each series by itself, so that only its
            shape counts) or none.
    """

    kind: ClassVar[Literal["list"]] = "list"
    expects: ClassVar[str] = "a list of finite numbers with gaps at most, as many for each step"

    def __init__(
        self,
        *,
        channels: Annotated[int, Range(1, 1024)] = 1,
        length: Annotated[int, Range(1, 1_000_000)] | None = None,
        scale: Literal["standard", "row", "none"] = "standard",
    ) -> None:
        self.channels, self.length, self.scale = channels, length, scale
        self._steps = length or 1
        self._mean = np.zeros(channels)
        self._spread = np.ones(channels)

    def parse(self, column: pl.Series) -> pl.Series:
        return number_lists(column, self.channels)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        values, lengths = laid_flat(column)
        longest = int(lengths.max(initial=0)) // self.channels
        self._steps = self.length or max(1, min(longest, _MOST_STEPS))
        numbers_SC = np.clip(values.to_numpy().reshape(-1, self.channels), -1e150, 1e150)
        known_C = np.isfinite(numbers_SC).any(axis=0)
        self._mean, self._spread = np.zeros(self.channels), np.ones(self.channels)
        if self.scale == "standard" and known_C.any():
            self._mean[known_C] = np.nanmean(numbers_SC[:, known_C], axis=0)
            self._spread[known_C] = np.nanstd(numbers_SC[:, known_C], axis=0)
        self._spread[~(self._spread > 1e-12 * np.maximum(1.0, np.abs(self._mean)))] = 1.0

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        array = np.full((len(column), *self.spec.shape), np.nan, dtype=np.float32)
        for row, steps_TC in enumerate(self._rows(column)):
            if steps_TC is None:
                continue
            mean, spread = self._mean, self._spread
            if self.scale == "row":
                mean, spread = steps_TC.mean(axis=0), steps_TC.std(axis=0)
                spread = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(mean)), spread, 1.0)
            array[row, : len(steps_TC)] = np.clip((steps_TC - mean) / spread, -_LIMIT, _LIMIT)
        return array

    def _rows(self, column: pl.Series) -> list[np.ndarray | None]:
        """The last steps of every cell, float64 (T, C) without gaps; None where a cell is null."""
        values, lengths = laid_flat(column)
        numbers = np.clip(values.to_numpy(), -1e150, 1e150)
        ends = np.cumsum(lengths)
        kept = np.minimum(lengths, self._steps * self.channels)
        found: list[np.ndarray | None] = []
        for end, count in zip(ends.tolist(), kept.tolist(), strict=True):
            found.append(_filled(numbers[end - count : end].reshape(-1, self.channels)) if count else None)
        return found

    def inverse(self, array: np.ndarray) -> pl.Series:
        """Lists, flat; with `scale: row`, as they were scaled."""
        real_NT = np.isfinite(array[:, :, 0])
        values = (array.astype(np.float64) * self._spread + self._mean)[real_NT].ravel()
        lists = gathered(pl.Series(values, dtype=pl.Float64), real_NT.sum(axis=1) * self.channels)
        return lists.zip_with(pl.Series(real_NT.any(axis=1), dtype=pl.Boolean), pl.Series([None], dtype=lists.dtype))

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (self._steps, self.channels), ragged=(0,))

    @property
    def flat_spec(self) -> FlatSpec:
        words = [*_FIGURES, *(f"part{part + 1}" for part in range(_PARTS))]
        names = [word if self.channels == 1 else f"{channel + 1}.{word}" for channel in range(self.channels) for word in words]
        return FlatSpec((*names, "steps"), (0,) * (len(names) + 1))

    def flat(self, column: pl.Series) -> np.ndarray:
        """Per channel mean, spread, range, ends, mean change from step to step, and means of eight parts; then the number of steps."""
        matrix = np.full((len(column), len(self.flat_spec.names)), np.nan, dtype=np.float32)
        for row, steps_TC in enumerate(self._rows(column)):
            if steps_TC is not None:
                figures = np.concatenate([_figures(steps_T) for steps_T in steps_TC.T])
                matrix[row, :-1] = np.clip(figures, -3e38, 3e38)
                matrix[row, -1] = len(steps_TC)
        return matrix

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        return {"steps": self._steps, "mean": self._mean.tolist(), "spread": self._spread.tolist()}

    def restore(self, state: State) -> None:
        self._steps = int(state["steps"])
        self._mean, self._spread = np.array(state["mean"]), np.array(state["spread"])


def _filled(steps_TC: np.ndarray) -> np.ndarray:
    """Gaps on a line between their neighbours; a channel without any number is 0."""
    gaps_TC = np.isnan(steps_TC)
    if not gaps_TC.any():
        return steps_TC
    filled_TC = steps_TC.copy()
    place_T = np.arange(len(steps_TC))
    for channel, gaps_T in enumerate(gaps_TC.T):
        if gaps_T.all():
            filled_TC[:, channel] = 0.0
        elif gaps_T.any():
            filled_TC[gaps_T, channel] = np.interp(place_T[gaps_T], place_T[~gaps_T], steps_TC[~gaps_T, channel])
    return filled_TC


def _figures(steps_T: np.ndarray) -> np.ndarray:
    """What `flat` says of one channel of one series, float64."""
    change = float(np.abs(np.diff(steps_T)).mean()) if len(steps_T) > 1 else 0.0
    ends = [round(part * len(steps_T) / _PARTS) for part in range(_PARTS + 1)]
    # A part of a short series may hold no step: then it is the step that it begins with
    parts = [steps_T[start : max(end, start + 1)] for start, end in pairwise(ends)]
    means = [float(part.mean()) if len(part) else float(steps_T[-1]) for part in parts]
    plain = (steps_T.mean(), steps_T.std(), steps_T.min(), steps_T.max(), steps_T[0], steps_T[-1], change)
    return np.array([*plain, *means], dtype=np.float64)
