"""Exact quantiles of a column that streams by: a few values say between which others each quantile must lie, and only those are kept.

Floyd and Rivest, Expected time bounds for selection, CACM 1975. A few bytes of memory where all values would take eight each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from lode.data.mending.fitting import BATCH_ROWS, known_numbers, quantiles

_GLANCE_VALUES = 1 << 15
_SURE = 5.0
"""Standard deviations of a place in the glance, on either side."""
_PASSES = 2
_BLOCK_VALUES = 1 << 16
"""So many are compared at a time: what comes between fits the cache."""


def column_quantiles(rows: pl.LazyFrame, name: str, shares: Sequence[float]) -> list[float] | None:
    """Exact quantiles (linear interpolation, as np.quantile gives them) of the known cells of a numeric column.

    None where no cell is known. Where a glance at the first rows misleads, a second pass goes by one at all rows; a column that
    misleads both is sorted out in memory.
    """
    batches = _values(rows, name)
    first = next(batches, np.empty(0))
    second = next(batches, None)
    if second is None:
        return quantiles(first.copy(), shares) if len(first) else None
    batches = itertools.chain((first, second), batches)
    glance = _every(first, max(len(first) // _GLANCE_VALUES, 1))
    for _ in range(_PASSES):
        windows = [_Window.around(np.sort(glance), share) for share in shares]
        glances, num_values = [], 0
        for values in batches:
            num_values += len(values)
            glances.append(_every(values, len(values) // 1_000 + 1))
            for window in windows:
                window.look(values)
        found = [window.quantile(share, num_values) for window, share in zip(windows, shares, strict=True)]
        known = [value for value in found if value is not None]
        if len(known) == len(shares):
            return known
        glance, batches = np.concatenate(glances), _values(rows, name)
    return quantiles(known_numbers(rows, name), shares)


def _values(rows: pl.LazyFrame, name: str) -> Iterator[np.ndarray]:
    """The known cells, float64, a batch at a time; batches without one are left out."""
    known = pl.col(name).cast(pl.Float64).fill_nan(None).drop_nulls()
    for batch in rows.select(known).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        if batch.height:
            yield batch.to_series().to_numpy()


def _every(values: np.ndarray, step: int) -> np.ndarray:
    return values[::step].copy()


@dataclass(slots=True)
class _Window:
    """What lies between two values, and how much outside: `below` values are smaller than `low`, so many are equal to either."""

    low: float
    high: float
    below: int = 0
    at_low: int = 0
    at_high: int = 0
    inside: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def around(cls, glance: np.ndarray, share: float) -> _Window:
        """The window that holds a quantile, as far as sorted values (n,) drawn from all can tell."""
        place = share * (len(glance) - 1)
        margin = _SURE * (len(glance) * share * (1.0 - share)) ** 0.5 + 2.0
        low, high = int(place - margin), int(place + margin) + 1
        return cls(
            -np.inf if low < 0 else float(glance[low]), np.inf if high >= len(glance) else float(glance[high])
        )  # fmt: skip

    def look(self, values: np.ndarray) -> None:
        """Count some more values (n,), and keep those between."""
        for start in range(0, len(values), _BLOCK_VALUES):
            block = values[start : start + _BLOCK_VALUES]
            above = block > self.low
            at_low = int(np.count_nonzero(block == self.low))
            self.at_low += at_low
            self.below += len(block) - int(np.count_nonzero(above)) - at_low
            if self.high > self.low:
                self.at_high += int(np.count_nonzero(block == self.high))
                self.inside.append(block[above & (block < self.high)])

    def quantile(self, share: float, num_values: int) -> float | None:
        """The quantile of all `num_values` values; None where it lies outside."""
        place = share * (num_values - 1)
        inside = np.sort(np.concatenate(self.inside)) if self.inside else np.empty(0)
        low = self._at(int(np.floor(place)), inside)
        high = self._at(int(np.ceil(place)), inside)
        return None if low is None or high is None else low + (high - low) * (place - int(place))

    def _at(self, place: int, inside: np.ndarray) -> float | None:
        """The value that would stand at a place if all were sorted."""
        place -= self.below
        if 0 <= place < self.at_low:
            return self.low
        place -= self.at_low
        if 0 <= place < len(inside):
            return float(inside[place])
        return self.high if 0 <= place - len(inside) < self.at_high else None
