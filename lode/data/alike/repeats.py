"""Rows that repeat an earlier row, found in one pass over any number of rows: 12 bytes per row, never the rows themselves.

Used by the cleaner `duplicates`; rows that are nearly equal: lode/data/alike/near_text.py, near_image.py and near_record.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lode.data.contracts import ROW
from lode.data.threads import in_turn, side_by_side

_SEEDS = (11, 29)
_MARKS = 1 << 20
"""A power of two."""
_LOOK_ROWS = 1 << 18
_PART_ROWS = 1 << 22
"""Hashes are compared part by part (a part: equal leading bits), so that sorting never needs a second copy of all."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """rows: numbers (N,) of the rows that repeat another one, ascending. kept: (N,) the row that each of them repeats."""

    rows: np.ndarray
    kept: np.ndarray


def repeated_rows(rows: pl.LazyFrame, columns: Sequence[str]) -> pl.Series:
    """`__row__` (UInt64, ascending) of every row that is equal to an earlier one in these columns; null equals null."""
    return pl.Series(ROW, find_repeats(rows, columns).rows.astype(np.uint64))


def find_repeats(rows: pl.LazyFrame, columns: Sequence[str], filled: Sequence[str] = ()) -> Repeats:
    """Rows that are equal to another one in `columns`, and which one stays: the first, or the one with most cells known in `filled`.

    Rows (with `__row__`, in any order) are equal where 96 bits of hash are: for 50 million different rows the chance that any two are
    taken for equal is below 1e-13. NaN equals NaN, null equals null.
    """
    if not columns:
        return Repeats(np.empty(0, np.uint32), np.empty(0, np.uint32))
    table = _hashed(rows, columns, filled)
    num_parts = 1 << max(0, (len(table.first) // _PART_ROWS).bit_length())
    shift = np.uint64(64 - num_parts.bit_length() + 1)
    leading = _leading(table.first, shift) if num_parts > 1 else None

    def repeats_of(part: int) -> tuple[np.ndarray, np.ndarray]:
        inside = np.arange(len(table.first)) if leading is None else np.flatnonzero(leading == part)
        return _repeats_among(table, _suspects(table.first, inside))

    found = side_by_side(repeats_of, range(num_parts), len(table.first))
    dropped, kept = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.argsort(dropped, kind="stable")
    return Repeats(dropped[order], kept[order])


@dataclass(slots=True)
class _Hashes:
    """What is kept of the rows.

    first: uint64 (N,). second: uint32 (N,), of another seed. holes: uint16 (N,), missing cells; (0,) where nobody asks.
    numbers: (N,) where they are not `start`, `start` + 1, ...; else (0,).
    """

    first: np.ndarray
    second: np.ndarray
    holes: np.ndarray
    numbers: np.ndarray
    start: int = -1

    def add_numbers(self, more: np.ndarray) -> None:
        """The numbers of a batch; to be called before its hashes are added."""
        size = len(self.first)
        self.start = int(more[0]) if self.start < 0 else self.start
        first = self.start + size
        if not len(self.numbers) and int(more[0]) == first and np.array_equal(more, np.arange(first, first + len(more))):
            return
        if size and not len(self.numbers):
            self.numbers = np.arange(self.start, first, dtype=self.numbers.dtype)
        if self.numbers.dtype == np.uint32 and int(more.max()) >> 32:
            self.numbers = self.numbers.astype(np.uint64)
        _append(self.numbers, more)

    def numbers_of(self, places: np.ndarray) -> np.ndarray:
        """Row numbers, of the smallest type that holds them all."""
        if len(self.numbers):
            return self.numbers[places]
        return (places + self.start).astype(np.uint64 if (self.start + len(self.first)) >> 32 else np.uint32)


def _hashed(rows: pl.LazyFrame, columns: Sequence[str], filled: Sequence[str]) -> _Hashes:
    table = _Hashes(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.uint32))
    wanted = list(dict.fromkeys([ROW, *columns, *filled]))

    def hashed(batch: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        cells = batch.select(columns)
        first, second = (cells.hash_rows(seed).to_numpy() for seed in _SEEDS)
        holes = batch.select(pl.sum_horizontal(pl.col(name).is_null() for name in filled)).to_series() if filled else None
        return batch[ROW].to_numpy(), first, second >> np.uint64(32), table.holes if holes is None else holes.to_numpy()

    for numbers, first, second, holes in in_turn(hashed, rows.select(wanted).collect_batches(maintain_order=True)):
        if not len(numbers):
            continue
        table.add_numbers(numbers)
        _append(table.first, first)
        _append(table.second, second)
        if filled:
            _append(table.holes, holes)
    return table


def _append(array: np.ndarray, more: np.ndarray) -> None:
    # Growing in place remaps pages; joining a list of parts at the end would hold everything twice.
    size = len(array)
    array.resize(size + len(more), refcheck=False)
    array[size:] = more


def _leading(hashes: np.ndarray, shift: np.uint64) -> np.ndarray:
    """uint16 (N,): the part of each hash. A few at a time: shifted all at once they would be held twice."""
    leading = np.empty(len(hashes), np.uint16)
    for start in range(0, len(hashes), _LOOK_ROWS):
        leading[start : start + _LOOK_ROWS] = hashes[start : start + _LOOK_ROWS] >> shift
    return leading


def _suspects(hashes: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Those of the positions `inside` whose first hash occurs there more than once, ascending."""
    own = hashes[inside]
    ordered = np.sort(own)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return inside[:0]
    marked = np.zeros(_MARKS, dtype=bool)
    last_bits = np.uint64(_MARKS - 1)
    marked[twice & last_bits] = True
    likely = np.flatnonzero(marked[own & last_bits])  # a look into a small table spares most rows the search
    place = np.minimum(np.searchsorted(twice, own[likely]), len(twice) - 1)
    return inside[likely[twice[place] == own[likely]]]


def _repeats_among(table: _Hashes, suspects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows that go and of those that stay in their place."""
    numbers = table.numbers_of(suspects)
    if not len(suspects):
        return numbers, numbers
    keys = (table.first[suspects], table.second[suspects])
    best = (table.holes[suspects],) if len(table.holes) else ()
    order = np.lexsort((numbers, *best, keys[1], keys[0]))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    stays = numbers[order[starts]][np.cumsum(starts) - 1]
    return numbers[order[~starts]], stays[~starts]
