"""Drops rows that say exactly the same as an earlier one: such rows would stand in training and test at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName
from lode.data.contracts import ROW, Cleaner, State


class Duplicates(Cleaner):
    """Keeps the first of equal rows.

    Args:
        columns: rows are equal when these columns are; by default all inputs and outputs.
    """

    scope: Literal["source", "cells", "training"] = "source"
    on: ClassVar[Literal["raw", "typed"]] = "typed"

    def __init__(self, *, columns: list[ColumnName] | None = None) -> None:
        self.columns = columns
        self._columns: list[str] = list(columns or [])

    def fit(self, frame: pl.DataFrame, types: Mapping[str, str]) -> None:
        """Errors: DataError where a named column is no input or output."""
        for name in self.columns or ():
            if name not in frame.columns:
                known = [column for column in frame.columns if column != ROW]
                raise DataError(
                    f'data.clean duplicates: no column "{name}", found {listed(known)}.{near_miss(name, known)} Name one of them.'
                )
        self._columns = list(self.columns or (name for name in frame.columns if name in types))

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        subset = [name for name in frame.columns if name in self._columns]
        return frame.unique(subset=subset, keep="first", maintain_order=True) if subset else frame

    def state(self) -> State:
        return {"columns": list(self._columns)}

    def restore(self, state: State) -> None:
        self._columns = list(state["columns"])
