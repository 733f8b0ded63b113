"""Pictures taken with too little light."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.data.formats import decoding
from lode.pipeline.damage import Damage, each_known, picture


class Dark(Damage):
    """Pictures are darker than they should be.

    Args:
        share: Share of the brightness that is left.
    """

    says: ClassVar[str] = "dark pictures"

    def __init__(
        self,
        column: ColumnSchema,
        cells: pl.Series,
        *,
        share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.5,
    ) -> None:
        self.share = share

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "image"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, self._darkened)

    def _darkened(self, cell: Any) -> bytes:
        return decoding.to_npy(np.rint(self.share * picture(cell)).astype(np.uint8))
