"""Columns side by side: numpy and polars let go of the interpreter's lock, so large ones are worked on by a few threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

_MIN_ROWS = 50_000
"""Below this a thread costs more than it saves."""
_MAX_THREADS = 4
"""Every thread holds memory of its own."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Protocol):
    """`work` of every item, in order. The first error is raised."""

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]: ...


@contextmanager
def team(num_rows: int) -> Iterator[Together]:
    """Works on many lists of columns with the same threads: new ones for every list would each hold memory of their own."""
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    if num_rows < _MIN_ROWS or num_threads == 1:
        yield _one_by_one
        return
    with ThreadPoolExecutor(num_threads) as pool:
        yield lambda work, items: list(pool.map(work, items))


def in_turn(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of every item, in order, a few items at a time beside one another: for batches, of which each holds much memory."""
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(num_threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Nobody waits for the rest: polars lets go of a generator in whatever thread comes next, be it one of these.
        pool.shutdown(wait=False, cancel_futures=True)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], num_rows: int) -> list[Result]:
    """`work` of every item, in order; by threads where the columns are long. The first error is raised."""
    with team(num_rows) as together:
        return together(work, items)


def _one_by_one(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    return [work(item) for item in items]
