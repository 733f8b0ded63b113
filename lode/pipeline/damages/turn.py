"""Pictures that are not held straight."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from scipy import ndimage

from lode.core.types import ColumnSchema, Range
from lode.data.formats import decoding
from lode.pipeline.damage import Damage, each_known, picture


class Turn(Damage):
    """Pictures are turned around their middle, to the left or to the right; what comes in repeats the edge.

    Args:
        degrees: The angle.
    """

    says: ClassVar[str] = "turned pictures"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, degrees: Annotated[float, Range(0, 180, open_low=True)] = 10.0
    ) -> None:
        self.degrees = degrees

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "image"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, lambda cell: self._turned(cell, -1.0 if generator.random() < 0.5 else 1.0))

    def _turned(self, cell: Any, sign: float) -> bytes:
        pixels = picture(cell).astype(np.float32)
        turned = ndimage.rotate(pixels, sign * self.degrees, reshape=False, order=1, mode="nearest")
        return decoding.to_npy(np.clip(np.rint(turned), 0, 255).astype(np.uint8))
