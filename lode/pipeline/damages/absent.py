"""A whole input that no longer arrives."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema
from lode.pipeline.damage import Damage


class Absent(Damage):
    """A whole input is missing in every row, one input at a time: a form was changed, a system is down."""

    says: ClassVar[str] = "a whole input missing"
    each: ClassVar[bool] = True

    def __init__(self, column: ColumnSchema, cells: pl.Series) -> None:
        pass

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return True

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return pl.Series(cells.name, [None] * len(cells), dtype=cells.dtype)
