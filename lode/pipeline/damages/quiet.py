"""Recordings that are too quiet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, each_known, recording


class Quiet(Damage):
    """Recordings are quieter: another microphone, a larger distance. Encoders that make them equally loud hardly notice.

    Args:
        decibels: By so much.
    """

    says: ClassVar[str] = "quiet recordings"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, decibels: Annotated[float, Range(0, 90, open_low=True)] = 20.0
    ) -> None:
        self.factor = 10.0 ** (-decibels / 20.0)

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "audio"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, self._lowered)

    def _lowered(self, cell: Any) -> bytes:
        return recording(cell, lambda samples: samples * self.factor)
