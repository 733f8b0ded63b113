"""Pictures that were pressed too hard."""

from __future__ import annotations

import io
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from PIL import Image

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, each_known, picture


class Jpeg(Damage):
    """Pictures went through strong JPEG compression.

    Args:
        quality: As Pillow counts it, from 1 (worst) to 95.
    """

    says: ClassVar[str] = "strong JPEG compression"

    def __init__(self, column: ColumnSchema, cells: pl.Series, *, quality: Annotated[int, Range(1, 95)] = 10) -> None:
        self.quality = quality

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "image"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, self._pressed)

    def _pressed(self, cell: Any) -> bytes:
        pixels, buffer = picture(cell), io.BytesIO()
        flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "JPEG", quality=self.quality)
        return buffer.getvalue()
