"""Intervals of exact money by drawing rows, or whole blocks of rows that belong together, with replacement.

Rows of one day or of one request are alike; drawn one by one they would feign more knowledge than there is (Kuensch 1989, The
jackknife and the bootstrap for general stationary observations).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from lode.value import exact

V = TypeVar("V", int, Fraction)


def interval(values: Sequence[V]) -> tuple[V, V]:
    """The 2.5 % and 97.5 % points, each a value that was drawn."""
    ordered = sorted(values)
    count = len(ordered)
    return ordered[max(0, -(-25 * count // 1000) - 1)], ordered[-(-975 * count // 1000) - 1]


def block_totals(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Exact sums of integers (N,) over the rows of each block. blocks: any labels (N,); sums stand in the order of the sorted labels."""
    names, place_N = np.unique(blocks, return_inverse=True)
    if values.dtype != object and exact.bound(values) * max(1, len(values)) < 2**62:
        sums = np.zeros(len(names), dtype=np.int64)
        np.add.at(sums, place_N, values)
        return sums
    totals = [0] * len(names)
    for place, value in zip(place_N.tolist(), values.tolist(), strict=True):
        totals[place] += int(value)
    return exact.integers(totals)


def drawn_means(columns: Sequence[np.ndarray], blocks: np.ndarray, resamples: int, seed: int) -> Iterator[tuple[Fraction, ...]]:
    """Means over rows of each column (N,) of integers, for blocks drawn with replacement, the same blocks for all columns.

    A mean is the sum of what was drawn by the number of rows that were drawn, which differs where blocks differ in size.
    """
    sizes = block_totals(np.ones(len(blocks), dtype=np.int64), blocks)
    tables = [block_totals(column, blocks) for column in columns]
    for *totals, num_rows in exact.drawn_totals([*tables, sizes], resamples, seed):
        yield tuple(Fraction(total, num_rows) for total in totals)
