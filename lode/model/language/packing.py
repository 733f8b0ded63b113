"""Which tokens stand in which row: documents packed by best fit, and one long text is left as it is. Numbers only, no tensors.

Lengths and offsets count positions: (token, token that follows) pairs, of which a document of n tokens has n - 1, or n where a token
that ends documents stands before it (`lode.data.corpus.store`). What is shuffled follows from (seed, epoch) alone, so that any number
of processes agree.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of pieces of documents. Every position of every document is in exactly one piece.

    rows_R: int64 (R + 1,), where each row's pieces begin. document_P: int64, each piece's document. offset_P: int64, the first
    position of the document that it holds. length_P: int64, how many. context: positions of a row.
    """

    rows_R: np.ndarray
    document_P: np.ndarray
    offset_P: np.ndarray
    length_P: np.ndarray
    context: int

    @property
    def num_rows(self) -> int:
        return len(self.rows_R) - 1

    @property
    def fill(self) -> float:
        """Share of the rows' positions that hold something."""
        return float(self.length_P.sum()) / max(1, self.num_rows * self.context)


def pack(lengths_D: np.ndarray, context: int, seed: int = 0) -> Packed:
    """Documents to rows of at most `context` positions: longer ones are cut into context-long pieces, what is left goes where it fits best.

    Best fit decreasing (Johnson 1974: at most 11/9 of the fewest rows, plus 6/9), one step for all pieces of one length and all rows
    with the same room, so that time goes with the number of different lengths. The seed says which of equally long pieces go
    together, and in what order the rows come.

    lengths_D: int64 (D,), positions of each document; those of length 0 are left out.
    """
    lengths_D = np.asarray(lengths_D, np.int64)
    random = np.random.default_rng([seed, context])
    document_P, offset_P, length_P = _cut(lengths_D, context)
    row_P = _best_fit(length_P, context, random)
    num_rows = int(row_P.max(initial=-1)) + 1
    row_P = random.permutation(num_rows)[row_P] if num_rows else row_P
    order = np.argsort(row_P, kind="stable")
    rows_R = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(row_P, minlength=num_rows), out=rows_R[1:])
    return Packed(rows_R, document_P[order], offset_P[order], length_P[order], context)


def _cut(lengths_D: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Document, offset and length of each piece, in the order of the documents."""
    pieces_D = -(-lengths_D // context)
    document_P = np.repeat(np.arange(len(lengths_D), dtype=np.int64), pieces_D)
    first_P = np.repeat(np.cumsum(pieces_D) - pieces_D, pieces_D)
    offset_P = (np.arange(len(document_P), dtype=np.int64) - first_P) * context
    return document_P, offset_P, np.minimum(lengths_D[document_P] - offset_P, context)


def _best_fit(length_P: np.ndarray, context: int, random: np.random.Generator) -> np.ndarray:
    """The row of each piece, int64 (P,)."""
    shuffled = random.permutation(len(length_P))
    order = shuffled[np.argsort(-length_P[shuffled], kind="stable")]
    lengths, starts = np.unique(-length_P[order], return_index=True)
    ends = np.append(starts, len(order))[1:]
    rooms = _Rooms(context)
    row_P = np.empty(len(length_P), np.int64)
    for length, start, end in zip((-lengths).tolist(), starts.tolist(), ends.tolist(), strict=True):
        row_P[order[start:end]] = rooms.take(length, end - start)
    return row_P


class _Rooms:
    """Rows by how much room they have left: a few groups, however many rows there are."""

    def __init__(self, context: int) -> None:
        self.context = context
        self.num_rows = 0
        self._rows: dict[int, list[np.ndarray]] = {}
        self._sizes: list[int] = []

    def take(self, length: int, count: int) -> np.ndarray:
        """Rows for `count` pieces of one length: those with least room first, then new ones. int64 (count,)."""
        found: list[np.ndarray] = []
        while count and (at := bisect_left(self._sizes, length)) < len(self._sizes):
            size = self._sizes[at]
            placed = self._fill(self._pop(size), size, length, count)
            found.append(placed)
            count -= len(placed)
        if count:
            needed = -(-count // (self.context // length))
            fresh = np.arange(self.num_rows, self.num_rows + needed, dtype=np.int64)
            self.num_rows += needed
            found.append(self._fill(fresh, self.context, length, count))
        return np.concatenate(found)

    def _fill(self, rows: np.ndarray, size: int, length: int, count: int) -> np.ndarray:
        """Put pieces into rows with room `size`, as many into one as fit before the next is begun; put back what has room left."""
        each = size // length
        full, rest = divmod(min(count, each * len(rows)), each)
        self._push(size - each * length, rows[:full])
        if rest:
            self._push(size - rest * length, rows[full : full + 1])
        self._push(size, rows[full + bool(rest) :])
        return np.append(np.repeat(rows[:full], each), np.repeat(rows[full : full + 1], rest))

    def _push(self, size: int, rows: np.ndarray) -> None:
        if not size or not len(rows):
            return
        if size not in self._rows:
            insort(self._sizes, size)
            self._rows[size] = []
        self._rows[size].append(rows)

    def _pop(self, size: int) -> np.ndarray:
        """One run of rows with this room."""
        runs = self._rows[size]
        rows = runs.pop()
        if not runs:
            del self._rows[size]
            del self._sizes[bisect_left(self._sizes, size)]
        return rows
