"""Categories that training never saw."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, struck_cells

_WORD = "a value that was never seen"


class Unseen(Damage):
    """Categories become a value that training never saw: a new product, a new town.

    Args:
        share: Share of the cells.
    """

    says: ClassVar[str] = "categories never seen"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    ) -> None:
        self.share = share

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "category"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        struck = struck_cells(cells, self.share, generator) & cells.is_not_null()
        return pl.Series(cells.name, [_WORD], dtype=pl.String).zip_with(struck, cells)
