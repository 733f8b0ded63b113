"""Categories: words to codes, the most frequent first. Reads cells with lode/data/cells.py; read lode/data/contracts.py first."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State


class Category(Feature):
    """One of a set of words: a country, a plan, a product group. Code 0 is missing, unknown or too rare.

    Numbers can be categories too: 1, 1.0 and "1" are one category. A value that is too rare to be kept counts as unseen.

    Args:
        min_count: a value in fewer training rows than this is treated as unknown.
        max_values: so many values are kept, the most frequent ones.
    """

    kind: ClassVar[Literal["string"]] = "string"
    expects: ClassVar[str] = "a word or a number"

    def __init__(
        self, *, min_count: Annotated[int, Range(1)] = 1, max_values: Annotated[int, Range(1, 1_000_000)] = 10_000
    ) -> None:
        self.min_count = min_count
        self.max_values = max_values
        self._codes = cells.WordCodes([])

    def parse(self, column: pl.Series) -> pl.Series:
        return cells.words(column)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        self._codes = cells.WordCodes(cells.ranked_words(column, self.min_count, self.max_values))

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        return self._codes.codes(column)

    def inverse(self, array: np.ndarray) -> pl.Series:
        words = np.array([None, *self._codes.words], dtype=object)
        return pl.Series(words[array].tolist(), dtype=pl.String)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("int32", (), cardinality=len(self._codes.words) + 1)

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (len(self._codes.words) + 1,))

    def flat(self, column: pl.Series) -> np.ndarray:
        return self._codes.codes(column).astype(np.float32).reshape(-1, 1)

    def unseen(self, column: pl.Series) -> int:
        return len(column) - column.null_count() - int(np.count_nonzero(self._codes.codes(column)))

    def state(self) -> State:
        return {"words": list(self._codes.words)}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])
