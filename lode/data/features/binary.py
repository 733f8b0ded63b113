"""Two-valued columns as 0 and 1. Reads cells with lode/data/cells.py; read lode/data/contracts.py first."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed
from lode.core.types import FlatSpec, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State


class Binary(Feature):
    """One of two values: yes or no, true or false, 0 or 1. The alphabetically first one is 0, the other 1.

    A missing cell, and a third value that appears only later (it counts as unseen), lies in the middle; a flag beside it marks
    missing cells where training had any.
    """

    kind: ClassVar[Literal["string"]] = "string"
    expects: ClassVar[str] = "one of the column's two values"

    def __init__(self) -> None:
        self._codes = cells.WordCodes([])
        self._has_missing = False

    def parse(self, column: pl.Series) -> pl.Series:
        return cells.words(column)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Learn the two values.

        Errors: DataError where the column has more than two.
        """
        values = column.drop_nulls().unique().sort().to_list()
        if len(values) > 2:
            raise DataError(
                f'column "{column.name}": {len(values)} values ({listed(values)}), a binary input has two.'
                " Write `category` as its type."
            )
        self._codes = cells.WordCodes(values)
        self._has_missing = column.null_count() > 0

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        values = np.array((0.5, 0.0, 1.0), dtype=np.float32)[self._codes.codes(column)]
        if not self._has_missing:
            return values.reshape(-1, 1)
        array = np.empty((len(values), 2), dtype=np.float32)
        array[:, 0] = values
        array[:, 1] = column.is_null().to_numpy() if column.has_nulls() else 0.0
        return array

    def inverse(self, array: np.ndarray) -> pl.Series:
        words = self._codes.words
        position = array[:, 0].astype(np.int64)
        known = (array[:, 0] != 0.5) & (position < len(words))
        return pl.Series([words[i] if ok else None for i, ok in zip(position, known, strict=True)], dtype=pl.String)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (2 if self._has_missing else 1,))

    @property
    def flat_spec(self) -> FlatSpec:
        return FlatSpec(("",), (0,))

    def flat(self, column: pl.Series) -> np.ndarray:
        return np.array((np.nan, 0.0, 1.0), dtype=np.float32)[self._codes.codes(column)].reshape(-1, 1)

    def unseen(self, column: pl.Series) -> int:
        return len(column) - column.null_count() - int(np.count_nonzero(self._codes.codes(column)))

    def state(self) -> State:
        return {"words": list(self._codes.words), "has_missing": self._has_missing}

    def restore(self, state: State) -> None:
        self._codes = cells.WordCodes(state["words"])
        self._has_missing = bool(state["has_missing"])
