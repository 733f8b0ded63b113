"""Numbers in another unit."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, struck_cells


class Units(Damage):
    """A few numbers come in another unit: grams for kilograms, cents for euros.

    Args:
        share: Share of the cells.
        factor: What they are multiplied with.
    """

    says: ClassVar[str] = "numbers in a wrong unit"

    def __init__(
        self,
        column: ColumnSchema,
        cells: pl.Series,
        *,
        share: Annotated[float, Range(0, 1, open_low=True)] = 0.01,
        factor: Annotated[float, Range(0, open_low=True)] = 1000.0,
    ) -> None:
        self.share, self.factor = share, factor

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "number"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return (cells * self.factor).zip_with(struck_cells(cells, self.share, generator), cells)
