"""Which rows to compare, and what becomes of those that are alike. Shared by near_text.py, near_image.py and near_record.py.

Rows that have a key in common are compared; work and memory grow with the number of rows, never with its square.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from lode.data.contracts import ROW

MAX_LOADED = 1 << 26
"""Items (shingles, words) of rows that are in memory together."""
FEW = 32
"""Up to so many rows with one key are all compared with one another."""
_NEIGHBOURS = 8

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that are alike. left < right: uint64 (P,) row numbers, in order. similarity: float32 (P,), at most 1."""

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray

    @classmethod
    def join(cls, parts: list[Pairs]) -> Pairs:
        """All of them, each pair once, in order."""
        left = np.concatenate([np.empty(0, np.uint64), *(part.left for part in parts)])
        right = np.concatenate([np.empty(0, np.uint64), *(part.right for part in parts)])
        similarity = np.concatenate([np.empty(0, np.float32), *(part.similarity for part in parts)])
        left, right = np.minimum(left, right), np.maximum(left, right)
        order = np.lexsort((right, left))
        left, right, similarity = left[order], right[order], similarity[order]
        new = np.ones(len(left), dtype=bool)
        new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
        return cls(left[new], right[new], similarity[new])


@dataclass(frozen=True, slots=True)
class Alike:
    """rows: uint64 (N,) numbers of the rows that go, ascending. kept: (N,) the row that stays in place of each.

    near: (N,) the row that each is most like, the kept one where they were compared; similarity: float32 (N,) with that one.
    """

    rows: np.ndarray
    kept: np.ndarray
    near: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True, slots=True)
class Pass:
    """Pairs to compare in one pass over the data.

    rows: those that are needed. numbers: uint64 (N,) of them, in the order in which they come. left, right: int64 (P,), places among them.
    """

    rows: pl.LazyFrame
    numbers: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def near(self, similarity: np.ndarray, threshold: float) -> Pairs:
        """Those that are similar enough. similarity: (P,)"""
        near = similarity >= threshold
        return Pairs(self.numbers[self.left[near]], self.numbers[self.right[near]], similarity[near].astype(np.float32))


def pairs_in_buckets(keys: np.ndarray, ties: np.ndarray, owners: np.ndarray | None = None) -> np.ndarray:
    """Rows with equal keys as left << 32 | right, uint64, left < right; a pair comes again for every key that it shares.

    keys, ties: uint32 (N,). Of many rows with one key each is compared with the first and with its neighbours in the order of `ties`.
    owners: uint32 (N,), the row that has the key; None where row i has key i.
    """
    joined = (keys.astype(np.uint64) << _HALF) | ties
    order = np.argsort(joined, kind="stable").astype(np.uint64)
    ordered = keys[order]
    order = order if owners is None else owners[order].astype(np.uint64)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, np.int64)
    sizes = np.diff(starts, append=len(ordered))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    found = [np.empty(0, np.uint64)]
    for step in range(1, FEW):
        limit = np.where(sizes <= FEW, sizes - step, np.where(step <= _NEIGHBOURS, sizes - step, 0))
        lefts = _ranges(starts, np.maximum(limit, 0))
        if not len(lefts):
            break
        found.append(_coded(order[lefts], order[lefts + step]))
    many = sizes > FEW
    rest = _ranges(starts[many] + 1, sizes[many] - 1)
    found.append(_coded(order[np.repeat(starts[many], sizes[many] - 1)], order[rest]))
    return np.concatenate(found)


def distinct(values: np.ndarray) -> np.ndarray:
    """The different ones of (N,), ascending. By sorting: `np.unique` is many times slower on coded pairs."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def decoded(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right, int64 each."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOW).astype(np.int64)


def passes(
    rows: pl.LazyFrame, numbers: np.ndarray, sizes: np.ndarray, left: np.ndarray, right: np.ndarray, max_items: int = MAX_LOADED
) -> Iterator[Pass]:
    """Pairs (places in `numbers`, the row numbers) in portions whose rows, of `sizes` items each, have at most `max_items` together."""
    waiting = [(left, right)]
    is_grouped = False
    while waiting:
        left, right = waiting.pop()
        if not len(left):
            continue
        used = np.zeros(len(numbers), dtype=bool)
        used[left] = used[right] = True
        places = np.flatnonzero(used)
        if len(left) > 1 and int(sizes[places].sum(dtype=np.int64)) > max_items:
            left, right = (left, right) if is_grouped else _grouped(left, right)
            is_grouped, half = True, len(left) // 2
            waiting += [(left[half:], right[half:]), (left[:half], right[:half])]
            continue
        own = used.cumsum() - 1
        needed = rows.filter(pl.col(ROW).is_in(pl.Series(numbers[places]).implode()))
        yield Pass(needed, numbers[places], own[left], own[right])


def _grouped(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in an order in which rows that are compared with one another stand together."""
    nodes = distinct(np.concatenate([left, right]))
    from_left = np.searchsorted(nodes, left)
    order = np.argsort(components(len(nodes), from_left, np.searchsorted(nodes, right))[from_left], kind="stable")
    return left[order], right[order]


def components(num_nodes: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int32 (num_nodes,): the group of every node; nodes that a chain of pairs joins are in one."""
    if not len(left):
        return np.arange(num_nodes, dtype=np.int32)
    from scipy.sparse import coo_matrix  # 0.5 s to import: only who has found something needs it
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(num_nodes, num_nodes))
    return connected_components(graph, directed=False)[1]


def alike(pairs: Pairs, holes: dict[int, int] | None = None) -> Alike:
    """Of every group of rows that pairs join, one stays: the first, or the first of those with fewest missing cells.

    holes: missing cells per row number; None to keep the first.
    """
    nodes = distinct(np.concatenate([pairs.left, pairs.right]))
    left, right = np.searchsorted(nodes, pairs.left), np.searchsorted(nodes, pairs.right)
    group = components(len(nodes), left, right)
    missing = np.zeros(len(nodes), np.int64) if holes is None else np.array([holes.get(int(node), 0) for node in nodes], np.int64)
    order = np.lexsort((nodes, missing, group))
    best = order[np.concatenate([[True], group[order][1:] != group[order][:-1]])] if len(order) else order
    kept = best[group] if len(best) else best
    near, similarity = _nearest(len(nodes), left, right, pairs.similarity, kept)
    gone = kept != np.arange(len(nodes))
    return Alike(nodes[gone], nodes[kept][gone], nodes[near][gone], similarity[gone])


def _nearest(
    num_nodes: int, left: np.ndarray, right: np.ndarray, similarity: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per node the one it was found alike with, and how much: the kept one first, then the most similar, then the first."""
    node, other = np.concatenate([left, right]), np.concatenate([right, left])
    how = np.concatenate([similarity, similarity])
    order = np.lexsort((other, -how, other != kept[node], node))
    node, other, how = node[order], other[order], how[order]
    first = np.searchsorted(node, np.arange(num_nodes))
    return other[first], how[first]


def _coded(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (np.minimum(left, right) << _HALF) | np.maximum(left, right)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, ..., `lengths[0]` of them, then those of the next."""
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
