"""Series in which a stretch is missing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, each_known


class Gap(Damage):
    """A stretch of each series is missing, somewhere: a sensor was off.

    Args:
        share: Share of the numbers of a series.
    """

    says: ClassVar[str] = "a stretch missing in series"

    def __init__(
        self,
        column: ColumnSchema,
        cells: pl.Series,
        *,
        share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2,
    ) -> None:
        self.share = share

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "series"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, lambda series: self._torn(series, generator))

    def _torn(self, series: Any, generator: np.random.Generator) -> list[float | None]:
        length = min(len(series) - 1, max(1, round(self.share * len(series))))
        start = int(generator.integers(0, len(series) - length + 1))
        torn = [*series[:start], *[None] * length, *series[start + length :]]
        # A series without any number is a missing cell: that is another damage.
        return torn if any(step is not None for step in torn) else list(series)
