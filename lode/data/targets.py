"""How the data keep an output's column, as its task says: words, numbers, or several words in one text.

The task's class is read, never imported: the data layer knows no models. Used by lode/data/ingest.py and by the look at quality.
"""

from __future__ import annotations

import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component


def cells_of(task: str) -> str:
    """How the data keep the column of an output with this task's word: `Task.cells`."""
    return str(REGISTRIES["task"].constant(task, "cells") or "words")


def separator_of(task: Component) -> str:
    """What parts the words of one cell."""
    option = REGISTRIES["task"].signature(task.type).options.get("separator")
    return str(task.options.get("separator", " " if option is None else option.default))


def joined(column: pl.Series, separator: str) -> pl.Series:
    """A column of lists, or of texts, as texts of words with the separator between them; "" where there is none.

    Errors: DataError for bytes, and for a list in which a word holds the separator.
    """
    where = f"outputs.{column.name}"
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = column.cast(pl.List(pl.String))
        holds = lists.list.eval(pl.element().str.contains(separator, literal=True)).list.any().fill_null(False)
        if holds.any():
            sample = lists.filter(holds).head(1).to_list()[0]
            raise DataError(
                f'{where}: a label holds the separator "{separator}" ({listed(map(repr, sample), 3)}). '
                "Name another `separator`, one that no label holds."
            )
        return lists.list.join(separator).fill_null("")
    if column.dtype == pl.Binary or column.dtype.is_nested():
        raise DataError(f"{where}: holds {column.dtype}, lists or texts of labels are needed. Name another column.")
    return column.cast(pl.String).fill_null("")
