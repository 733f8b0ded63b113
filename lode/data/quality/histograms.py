"""The distribution of numbers, dates, and lengths of texts: rows of each part in equal bins. Read lode/data/quality/figures.py first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lode.data.quality.counting import PART, columns_at_once, counted
from lode.data.quality.figures import Column
from lode.data.split import PARTS

_NUM_BINS = 40


@dataclass(frozen=True, slots=True)
class _Bins:
    """num equal bins from low to high."""

    low: float
    high: float
    num: int

    def code(self, measure: pl.Expr) -> pl.Expr:
        """0 below all bins, then the bins, the last one above all."""
        place = ((measure - self.low) * (self.num / (self.high - self.low))).floor().clip(-1, self.num)
        # The highest value belongs to the last bin.
        return (pl.when(measure == self.high).then(self.num - 1).otherwise(place) + 1).cast(pl.UInt32)


def add_histograms(
    scan: pl.LazyFrame, columns: Sequence[Column], records: Mapping[str, dict[str, Any]], num_rows: int, memory: int
) -> None:
    """Add `histogram` to the records that have quantiles or a range; None where there is nothing to draw.

    edges: of the bins. below, above: rows outside, by part. Where a few cells lie far out, the bins cover the middle and the rest is
    counted beside them. memory: bytes that it may take about a quarter of; nothing found depends on it.
    """
    drawn = [column for column in columns if column.kind not in ("word", "other") and "low" in records[column.name]]
    bins = {column: found for column in drawn if (found := _bins(records[column.name])) is not None}
    chosen, at_once = list(bins), columns_at_once(num_rows, memory)
    for start in range(0, len(chosen), at_once):
        some = chosen[start : start + at_once]
        cells = scan.select(PART, *(column.measure.alias(column.name) for column in some))
        tables = counted(cells, {column.name: (bins[column].code(pl.col(column.name)), bins[column].num + 2) for column in some})
        for column in some:
            records[column.name]["histogram"] = _histogram(bins[column], tables[column.name])


def _bins(record: Mapping[str, Any]) -> _Bins | None:
    low, high = record["low"], record["high"]
    if low is None or high is None:
        return None
    q = record.get("quantiles")
    if q:
        reach = q["0.99"] - q["0.01"]
        if reach > 0:
            low, high = max(low, q["0.01"] - reach), min(high, q["0.99"] + reach)
    num_bins = _NUM_BINS
    if record.get("whole") and high - low < _NUM_BINS:
        low, high = math.floor(low) - 0.5, math.floor(high) + 0.5
        num_bins = max(1, round(high - low))
    if high <= low:
        half = max(0.5, math.ulp(low))  # from 2**53 on a half is less than a number can tell
        low, high = low - half, high + half
    return _Bins(low, high, num_bins)


def _histogram(bins: _Bins, table: np.ndarray) -> dict[str, Any]:
    return {
        "edges": [float(edge) for edge in np.linspace(bins.low, bins.high, bins.num + 1)],
        "rows": {name: table[code, 1:-2].tolist() for code, name in enumerate(PARTS)},
        "below": {name: int(table[code, 0]) for code, name in enumerate(PARTS)},
        "above": {name: int(table[code, -2]) for code, name in enumerate(PARTS)},
    }
