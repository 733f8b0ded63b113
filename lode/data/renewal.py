"""New cells of columns that lie in files: whole columns written anew beside the work, and patches of the others.

Used by `Table.change`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.data.changes import Difference
from lode.data.contracts import ROW
from lode.data.storage.shelf import Shelf, Stored
from lode.data.storage.spool import Spool

_PATCH_ROWS = 1 << 18


class Renewed:
    """What becomes of columns, batch by batch. patches: column -> its new cells.

    Args:
        shelf: where files go.
        whole: columns that are written anew, by a thread of its own, and their types; then batches must hold all rows.
    """

    def __init__(self, shelf: Shelf, whole: Mapping[str, pl.DataType]) -> None:
        self.patches: dict[str, Patch] = {}
        self._shelf, self._names, self._types = shelf, list(whole), whole
        self._written: list[pl.LazyFrame] = []
        self._spool: Spool | None = None
        if whole:
            self._spool = Spool(lambda rows: self._written.append(shelf.keep("columns", rows)), whole, lambda frame: frame)

    def add(self, found: Difference, after: pl.DataFrame) -> None:
        """The rows that follow those that were added before: what changed in them, and those that stay.

        Errors: DataError where a column that is written anew has another type than before.
        """
        for name, dtype in self._types.items():
            if after.schema[name] not in (dtype, pl.Null):
                raise DataError(
                    f'data.clean: a cleaner gave "{name}" as {dtype} and then as {after.schema[name]}. `apply` must give a column one type.'
                )
        numbers = found.kept[ROW].to_numpy()
        if self._spool is not None:
            self._spool.put(_all_rows(found.gone, numbers, after.select(self._names)))
        for name, mask in found.masks.items():
            if name not in self._names:
                patch = self.patches.setdefault(name, Patch(self._shelf))
                patch.add(numbers[mask.to_numpy()], after[name].filter(mask))

    def whole(self) -> dict[str, Stored]:
        """The columns that were written anew. Errors: what writing raised."""
        if self._spool is None:
            return {}
        self._spool.close()
        return {name: self._written[0].select(name) for name in self._names}

    def stop(self) -> None:
        """Let go of the thread."""
        if self._spool is not None:
            self._spool.stop()


def _all_rows(gone: np.ndarray, numbers: np.ndarray, after: pl.DataFrame) -> pl.DataFrame:
    """With nothing in the rows that are gone, so that every other one stands in its place."""
    if not len(gone):
        return after
    return pl.concat([after.clear(len(gone)), after])[np.argsort(np.concatenate([gone, numbers]))]


class Patch:
    """New cells of a column and the rows (uint64, ascending) they stand in; in files as they become many."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._open: list[pl.DataFrame] = []
        self._closed: list[pl.LazyFrame] = []
        self.dtype: pl.DataType = pl.Null()

    def add(self, rows: np.ndarray, cells_new: pl.Series) -> None:
        """Rows that follow those that were added before."""
        self.dtype = cells_new.dtype
        self._open.append(pl.DataFrame([pl.Series("row", rows), cells_new.rename("cell")]))
        if self._shelf.on_disk and sum(frame.height for frame in self._open) > _PATCH_ROWS:
            self._closed.append(self._shelf.keep("patch", pl.concat(self._open).lazy()))
            self._open = []

    def chunks(self) -> Iterator[tuple[np.ndarray, pl.Series]]:
        """All of them, in order, a few at a time."""
        frames = [*self._closed, *(frame.lazy() for frame in self._open)]
        for lazy in frames:
            frame = lazy.collect()
            yield frame["row"].to_numpy(), frame["cell"]
