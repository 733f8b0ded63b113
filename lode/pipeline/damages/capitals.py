"""Texts in capitals."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema
from lode.pipeline.damage import Damage


class Capitals(Damage):
    """Texts are written in capitals. Scripts without capitals stay as they are."""

    says: ClassVar[str] = "texts in capitals"
    moves: ClassVar[bool] = True
    """A German eszett becomes two letters."""

    def __init__(self, column: ColumnSchema, cells: pl.Series) -> None:
        pass

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "text"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return cells.str.to_uppercase()
