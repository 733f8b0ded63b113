"""Texts that end too early."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, each_known


class Cut(Damage):
    """Texts are cut off behind a part of their letters.

    Args:
        share: Share of the letters that stays, the first ones.
    """

    says: ClassVar[str] = "texts cut short"
    moves: ClassVar[bool] = True

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
        return column.type == "text"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, self._cut)

    def _cut(self, text: Any) -> str:
        kept: str = text[: max(1, round(self.share * len(text)))]
        return kept if kept.strip() else text
