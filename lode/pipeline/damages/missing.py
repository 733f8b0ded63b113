"""Cells that are missing here and there."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, struck_cells


class Missing(Damage):
    """Cells of every input go missing at random.

    Args:
        share: Share of the cells.
    """

    says: ClassVar[str] = "cells missing at random"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    ) -> None:
        self.share = share

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return True

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        nothing = pl.Series(cells.name, [None], dtype=cells.dtype)
        return cells.zip_with(~struck_cells(cells, self.share, generator), nothing)
