"""Orders that are carried out together in a thread of their own: whatever gathers while one group is under way is the next.

So a commit (or a reading) serves all who wait, and its cost per request falls as the load grows. Used on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from lode.app.contracts import RequestError

O = TypeVar("O")  # noqa: E741
R = TypeVar("R")

Finish = Callable[[Sequence[O], Sequence[R | None]], None]

LARGEST = 256
"""Orders of one group: what a commit of ours takes stays below some 30 ms."""
MOST_WAITING = 8192
_MOST_TURNS = 8
"""Of the loop, for which a group waits at most while more come."""


class Groups(Generic[O, R]):
    """A queue and a thread. run: carries out a group, in the thread; a result for each order, or it raises for all of them.

    finish: told, on the event loop and before anybody who waits, of the group's orders and results (None each where it raised).
    """

    def __init__(self, run: Callable[[Sequence[O]], Sequence[R]], *, name: str, finish: Finish[O, R] | None = None):
        self._run = run
        self._finish = finish
        self._waiting: list[tuple[O, asyncio.Future[R]]] = []
        self._busy = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.failed = False
        """Whether the last group failed."""

    def add(self, order: O) -> asyncio.Future[R]:
        """It will be carried out, whether anybody waits for the future or not. Errors: RequestError 503 where too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            raise unavailable(f"{MOST_WAITING} requests wait for the books", 1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((order, future))
        if not self._busy:
            # Not at once: whatever else comes in this turn of the loop goes along.
            self._busy = True
            loop.call_soon(self._start, loop)
        return future

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        while self._busy:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """End the thread, after what is under way."""
        self._worker.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop, known: int = 0, turns: int = 0) -> None:
        """Begin, once a turn of the loop brought nobody new: two threads that both have work take turns at the interpreter's lock, and
        a commit costs nearly the same for one order as for many.
        """
        if known < len(self._waiting) < LARGEST and turns < _MOST_TURNS:
            loop.call_soon(self._start, loop, len(self._waiting), turns + 1)
            return
        group, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        if not group:
            self._busy = False
            return
        done = self._worker.submit(self._run, [order for order, _ in group])
        done.add_done_callback(lambda done: loop.call_soon_threadsafe(self._done, loop, group, done))

    def _done(self, loop: asyncio.AbstractEventLoop, group: list[tuple[O, asyncio.Future[R]]], done: Future[Sequence[R]]) -> None:
        """Back on the event loop: the next group first, so that the thread works meanwhile."""
        self._start(loop)
        error = done.exception()
        self.failed = error is not None
        results: Sequence[R | None] = [None] * len(group) if error is not None else done.result()
        if self._finish is not None:
            self._finish([order for order, _ in group], results)
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)
                future.exception()  # asked for, so that nobody is told of one that nobody waits for


def unavailable(why: str, wait_s: int) -> RequestError:
    """The answer where the books are away: nothing is answered without a record."""
    text = f"the books cannot be written now: {why}. Nothing was answered or billed; try again in {wait_s} s."
    return RequestError(503, "books_unavailable", text, headers=[(b"retry-after", str(wait_s).encode())])
