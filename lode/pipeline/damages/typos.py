"""Mistakes of typing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.pipeline.damage import Damage, each_known


class Typos(Damage):
    """Letters of texts are left out or change places with the next one, half of each.

    Args:
        share: Share of the letters.
    """

    says: ClassVar[str] = "typos"
    moves: ClassVar[bool] = True

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.05
    ) -> None:
        self.share = share

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type == "text"

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        return each_known(cells, lambda text: self._mistyped(text, generator))

    def _mistyped(self, text: Any, generator: np.random.Generator) -> str:
        letters = list(text)
        struck = np.flatnonzero(generator.random(len(letters)) < self.share)
        dropped = generator.random(len(struck)) < 0.5
        for place, is_dropped in zip(struck.tolist(), dropped.tolist(), strict=True):
            if is_dropped:
                letters[place] = ""
            elif place + 1 < len(letters):
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
        # A text never becomes a missing cell: that is another damage.
        return "".join(letters) if "".join(letters).strip() else text
