"""The rows on their way to the snapshot: raw columns, typed ones beside them, and which rows are kept. A row's number is its position.

Columns lie on a `Shelf` (lode/data/storage/shelf.py): in memory, or in files where the data are large. Read lode/data/ingest.py next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from polars import selectors as cs
from polars.io.plugins import register_io_source

from lode.data import cells
from lode.data.changes import Difference, Why, compare, lines, no_reason, reasoned
from lode.data.contracts import ROW, Feature
from lode.data.enums import are_few, enumerated, parsed_words, plain_words, renamed, reworded, words_of
from lode.data.renewal import Patch, Renewed
from lode.data.storage.shelf import Shelf, Stored, series
from lode.data.threads import in_turn, side_by_side

_SLICE_ROWS = 1 << 16
_KEEP = "__keep__"

Change = Callable[[pl.DataFrame], pl.DataFrame]
"""Rows before -> rows after, in the same order, some of them gone."""


@dataclass(slots=True)
class Table:
    """raw: columns as read. shelf: where typed columns go. typed: columns that typing changed.

    keep: bool (N,), False for dropped rows. parts: uint8 (N,) given parts, or None. finite: raw columns of numbers, none of them NaN or
    infinite.
    """

    raw: pl.DataFrame | pl.LazyFrame
    num_rows: int
    shelf: Shelf
    parts: np.ndarray | None = None
    typed: dict[str, Stored] = field(default_factory=dict)
    finite: frozenset[str] = frozenset()
    keep: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.keep = np.ones(self.num_rows, dtype=bool)

    @property
    def num_kept(self) -> int:
        """Rows that are not dropped."""
        return int(np.count_nonzero(self.keep))

    def dtype(self, name: str) -> pl.DataType:
        """The type of a column as it stands."""
        stored = self.typed.get(name)
        if isinstance(stored, pl.Series):
            return stored.dtype
        return (self.raw if stored is None else stored).lazy().collect_schema()[name]

    @property
    def columns(self) -> frozenset[str]:
        """Names of all columns."""
        return frozenset([*self.raw.lazy().collect_schema().names(), *self.typed])

    def column(self, name: str) -> pl.Series:
        """All cells of a column (N,), typed if it was typed."""
        return series(self.typed[name]) if name in self.typed else self.raw_column(name)

    def first(self, name: str, num_rows: int) -> pl.Series:
        """The first cells of a column."""
        if num_rows >= self.num_rows:
            return self.column(name)
        return self.one(name).slice(0, num_rows).collect().to_series()

    def gather(self, name: str, rows: np.ndarray) -> pl.Series:
        """The cells of some rows (int64, ascending)."""
        return self.gather_of(name, self.typed.get(name), rows)

    def gather_of(self, name: str, stored: Stored | None, rows: np.ndarray) -> pl.Series:
        """The cells of some rows as they were `stored` before, or as they were read."""
        if isinstance(stored, pl.Series):
            return stored.gather(rows)
        frame = self.raw.lazy().select(name) if stored is None else stored
        parts = [frame.slice(int(row), 1).collect().to_series() for row in rows]
        return pl.concat(parts) if parts else self.first(name, 0)

    def kept_column(self, name: str, limit: int | None = None) -> pl.Series:
        """The cells of the kept rows; only the first `limit` of them where it is given."""
        if limit is not None and limit < self.num_rows and not isinstance(self.typed.get(name), pl.Series):
            rows = np.flatnonzero(self.keep)[:limit]
            whole = self.first(name, int(rows[-1]) + 1 if len(rows) else 0)
            return whole.gather(rows)
        column = self.column(name)
        kept = column if self.keep.all() else column.filter(pl.Series(self.keep))
        return kept if limit is None else kept.head(limit)

    def raw_column(self, name: str) -> pl.Series:
        """All cells of a column (N,) as they were read."""
        if name not in self.raw.lazy().collect_schema():
            return series(self.typed[name])
        return self.raw[name] if isinstance(self.raw, pl.DataFrame) else self.raw.select(name).collect().to_series()

    def set(self, name: str, column: pl.Series) -> None:
        """Another column under this name."""
        self.typed[name] = self.shelf.put(column.rename(name))

    def slices(self, name: str) -> Iterator[pl.Series]:
        """A column, a batch at a time."""
        if not self.shelf.on_disk:
            yield self.column(name)
            return
        for batch in self.one(name).collect_batches(chunk_size=self._batch_rows, maintain_order=True):
            yield batch.to_series()

    def batches(self, names: Sequence[str], rows: np.ndarray, *, plain: bool = True) -> Iterator[pl.DataFrame]:
        """These columns of the rows in `rows` (bool (N,)) with `__row__`; in memory all at once. plain: words of an Enum as strings."""
        if not self.shelf.on_disk:
            mask = pl.Series(rows)
            columns = [self.column(name).rename(name).filter(mask) for name in names]
            plain_columns = [plain_words(column) for column in columns] if plain else columns
            yield pl.DataFrame([pl.Series(ROW, np.flatnonzero(rows).astype(np.uint64)), *plain_columns])
            return
        yield from self.lazy(names, rows, plain=plain).collect_batches(chunk_size=self._batch_rows, maintain_order=True)

    def rows(self, names: Sequence[str], rows: np.ndarray, *, plain: bool = True) -> pl.LazyFrame:
        """As `lazy`, for who looks at a few columns at a time: only those that are asked for are read."""
        if not self.shelf.on_disk:
            marks = [pl.Series(ROW, np.arange(self.num_rows, dtype=np.uint64)), pl.Series(_KEEP, rows)]
            whole = pl.DataFrame([*marks, *(self.column(name).rename(name) for name in names)])
            kept = whole.lazy().filter(pl.col(_KEEP)).drop(_KEEP)
            return kept.with_columns(cs.by_dtype(pl.Enum).cast(pl.String)) if plain else kept
        dtypes = {name: self.dtype(name) for name in names}
        schema = {ROW: pl.UInt64(), **{name: _plain_type(dtype) if plain else dtype for name, dtype in dtypes.items()}}

        # polars prunes no columns of frames that stand side by side.
        def read(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            wanted = list(schema) if with_columns is None else with_columns
            frame = self.lazy([name for name in names if name in wanted], rows, plain=plain).select(wanted)
            frame = frame if n_rows is None else frame.head(n_rows)
            for batch in frame.collect_batches(chunk_size=self._batch_rows, maintain_order=True):
                yield batch if predicate is None else batch.filter(predicate)

        return register_io_source(read, schema=schema)

    def lazy(self, names: Sequence[str], rows: np.ndarray, *, plain: bool = False) -> pl.LazyFrame:
        """These columns of the rows in `rows` (bool (N,)) with `__row__`, all of them. plain: words of an Enum as strings."""
        frames = [self.one(name) for name in names if name in self.typed]
        rest = [name for name in names if name not in self.typed]
        frames += [self.raw.lazy().select(rest)] if rest else []
        joined = pl.concat([pl.DataFrame([pl.Series(_KEEP, rows)]).lazy(), *frames], how="horizontal").with_row_index(ROW)
        kept = joined.filter(pl.col(_KEEP)).select(pl.col(ROW).cast(pl.UInt64), *names)
        return kept.with_columns(cs.by_dtype(pl.Enum).cast(pl.String)) if plain else kept

    def change(
        self,
        names: Sequence[str],
        change: Change,
        rows: np.ndarray,
        *,
        first: Change | None = None,
        why: Why = no_reason,
        plain: bool = True,
        keep: bool = True,
    ) -> Iterator[pl.DataFrame]:
        """Put these columns of the rows in `rows` (bool (N,)) through `change`, batch by batch; gives what it changed, as lines with
        `why` asked of each batch right after `change`, in the same thread.

        Rows that are missing afterwards are dropped from the table. Columns whose cells changed are kept anew when the last batch is
        through; with `keep` false they are only compared. `change` must not care which batch comes first: two run side by side.
        first: what becomes of rows before `change` sees them; kept as well, but not told.
        """

        def changed(batch: pl.DataFrame) -> tuple[Difference, pl.DataFrame, pl.DataFrame]:
            before = batch if first is None else first(batch)
            after = change(before)
            found = compare(before, after)
            told = reasoned(lines(found, after), why)
            return (compare(batch, after) if keep and first is not None else found), after, told

        renewed: Renewed | None = None
        try:
            for found, after, told in in_turn(changed, self.batches(names, rows, plain=plain)):
                yield told
                if not keep:
                    continue
                self.keep[found.gone] = False
                renewed = renewed or Renewed(self.shelf, self._written_anew(found, after) if rows.all() else {})
                renewed.add(found, after)
            if renewed is not None:
                self.typed |= renewed.whole()
                side_by_side(lambda item: self._patch(*item), renewed.patches.items(), self.num_rows)
        finally:
            if renewed is not None:
                renewed.stop()

    def _written_anew(self, found: Difference, after: pl.DataFrame) -> dict[str, pl.DataType]:
        """Columns that change from the first batch on, and keep their type: to write all their cells beside is less than to patch them."""
        if not self.shelf.on_disk:
            return {}
        types = {name: self.dtype(name) for name in found.masks}
        return {name: dtype for name, dtype in types.items() if dtype in (pl.String, pl.Float64) and after.schema[name] == dtype}

    def change_words(self, name: str, change: Callable[[pl.Series], pl.Series]) -> np.ndarray | None:
        """Put each different word of an Enum column through `change` once; bool (N,): which cells changed, None where none did."""
        words = words_of(name, self.dtype(name))
        new = change(words)
        other = words.ne_missing(new).to_numpy()
        if not other.any():
            return None
        column = self.column(name)
        self.set(name, renamed(column, new))
        return np.append(other, False)[cells.filled(column.to_physical(), len(words))]

    def type_as(self, name: str, feature: Feature, as_words: bool) -> np.ndarray:
        """Parse a column; returns the int64 positions of the rejected cells. as_words: few different strings are kept as an Enum."""
        dtype = self.dtype(name)
        if feature.kind == "number" and name in self.finite and name not in self.typed:
            return np.empty(0, dtype=np.int64)  # what parsing would give
        if dtype == pl.Binary:
            return self._type_bytes(name, feature)
        if self.shelf.on_disk and dtype != pl.Enum:
            return self._type_slices(name, feature, as_words)
        words = parsed_words(name, dtype, feature) if dtype == pl.Enum else None
        if dtype == pl.Enum and words is None:
            return np.empty(0, dtype=np.int64)
        column = self.column(name)
        if words is not None:
            parsed, bad = reworded(column, words)
        else:
            parsed = feature.parse(column)
            bad = cells.rejected(column, parsed)
        result = enumerated(parsed) if as_words else parsed
        if result is not column:
            self.set(name, result)
        return bad

    def keep_words(self, name: str) -> None:
        """Keep the few different strings of an output as an Enum, as they stand."""
        if self.dtype(name) == pl.String:
            self.set(name, enumerated(self.column(name)))

    @property
    def _batch_rows(self) -> int:
        return self.shelf.batch_rows

    def one(self, name: str) -> pl.LazyFrame:
        """One column, lazily."""
        stored = self.typed.get(name)
        if stored is None:
            return self.raw.lazy().select(name)
        return stored.to_frame(name).lazy() if isinstance(stored, pl.Series) else stored

    def _patch(self, name: str, patch: Patch) -> None:
        """New cells at some rows."""
        was_words = self.dtype(name) == pl.Enum

        def patched() -> Iterator[pl.Series]:
            chunks = patch.chunks()
            rows, values = next(chunks)
            start = 0
            for part in self.slices(name):
                # `scatter` works in place: on a copy of the handle, buffers are copied when they are written to.
                new = plain_words(part).cast(patch.dtype).clone()
                end = start + len(part)
                while True:
                    low, high = np.searchsorted(rows, (start, end))
                    if high > low:
                        new = new.scatter(rows[low:high] - start, values[int(low) : int(high)])
                    if len(rows) and rows[-1] >= end:
                        break
                    rows, values = next(chunks, (rows[:0], values.head(0)))
                    if not len(rows):
                        break
                yield new
                start = end

        stored = self.shelf.put_parts(name, patch.dtype, patched())
        self.typed[name] = self._enumerated(name, stored) if was_words else stored

    def _enumerated(self, name: str, stored: Stored) -> Stored:
        """`enumerated` of a column that may lie on disk."""
        if isinstance(stored, pl.Series):
            return enumerated(stored)
        words = stored.select(pl.col(name).unique()).collect(engine="streaming").to_series().drop_nulls().sort().to_list()
        return stored.with_columns(pl.col(name).cast(pl.Enum(words))) if are_few(words) else stored

    def _type_slices(self, name: str, feature: Feature, as_words: bool) -> np.ndarray:
        """As `type_as`, batch by batch; a column that parsing leaves as it is stays where it is."""
        found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        dtype = feature.parse(self.first(name, 0)).dtype
        is_changed = dtype != self.dtype(name)

        def parsed() -> Iterator[pl.Series]:
            nonlocal is_changed
            start = 0
            for part in self.slices(name):
                new = feature.parse(part)
                found.append(start + cells.rejected(part, new))
                is_changed = is_changed or (new is not part and _differs(part, new) is not None)
                start += len(part)
                yield new

        if not is_changed and dtype.is_numeric():
            for _ in parsed():
                if is_changed:
                    break
            if not is_changed:
                return np.concatenate(found)
            found.clear()
        stored = self.shelf.put_parts(name, dtype, parsed())
        self.typed[name] = self._enumerated(name, stored) if as_words and dtype == pl.String else stored
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _type_bytes(self, name: str, feature: Feature) -> np.ndarray:
        """Slice by slice, so that decoding a large collection needs little memory; rejected rows are only noted."""
        found = []
        for start in range(0, self.num_rows, _SLICE_ROWS):
            part = self.raw.select(name).slice(start, _SLICE_ROWS).lazy().collect().to_series()
            found.append(start + cells.rejected(part, feature.parse(part)))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def changed_rows(rows: pl.LazyFrame, change: Change) -> pl.LazyFrame:
    """The rows after a change of cells that asks for no other column, done whenever they are read."""

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        chosen = rows if with_columns is None else rows.select(with_columns)
        chosen = chosen if n_rows is None else chosen.head(n_rows)
        for batch in chosen.collect_batches(maintain_order=True):
            after = change(batch)
            yield after if predicate is None else after.filter(predicate)

    return register_io_source(read, schema=rows.collect_schema())


def _differs(before: pl.Series, after: pl.Series) -> pl.Series | None:
    """Bool (n,): which cells changed; None where none did."""
    if before.dtype != after.dtype:
        before = before.cast(after.dtype, strict=False)
    changed = before.ne_missing(after)
    return changed if changed.any() else None


def _plain_type(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if isinstance(dtype, pl.Enum) else dtype
