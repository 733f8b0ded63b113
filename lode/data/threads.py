"""Columns side by side: numpy and polars let go of the interpreter's lock, so large ones are worked on by a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_MIN_ROWS = 50_000
"""Below this a thread costs more than it saves."""
_MAX_THREADS = 4
"""Every thread holds memory of its own."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], num_rows: int) -> list[Result]:
    """`work` of every item, in order; by threads where the columns are long. The first error is raised."""
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    if num_rows < _MIN_ROWS or num_threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(work, items))
