"""Pictures out of focus."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from scipy import ndimage

from lode.core.types import ColumnSchema, Range
from lode.data.formats import decoding
from lode.pipeline.damage import Damage, each_known, picture


class Blur(Damage):
    """Pictures are blurred by a normal kernel.

    Args:
        radius: Its standard deviation, as a share of the shorter side.
    """

    says: ClassVar[str] = "blurred pictures"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, radius: Annotated[float, Range(0, 1, open_low=True)] = 0.03
    ) -> None:
        self.radius = radius

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "image"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, self._blurred)

    def _blurred(self, cell: Any) -> bytes:
        pixels = picture(cell).astype(np.float32)
        width = self.radius * min(pixels.shape[:2])
        blurred = ndimage.gaussian_filter(pixels, (width, width, 0), mode="nearest")
        return decoding.to_npy(np.clip(np.rint(blurred), 0, 255).astype(np.uint8))
