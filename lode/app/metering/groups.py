"""Orders that are carried out together in a thread of their own: whatever gathers while one group is under way is the next.

So a commit (or a reading) serves all who wait, and its cost per request falls as the load grows. Where a group leaves many behind, the
next one waits a moment for them to come back: a commit costs nearly the same for one order as for many. Used on the event loop.
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
_PATIENCE = 0.25
_LONGEST_S = 0.02
"""Part of the last group's time for which the next one waits for more, and the longest: books that were locked for long keep nobody."""


class Groups(Generic[O, R]):
    """A queue and a thread. run: carries out a group, in the thread; a result for each order, or it raises for all of them.

    finish: told, on the event loop and before anybody who waits, of the group's orders and results (None each where it raised).
    """

    def __init__(self, run: Callable[[Sequence[O]], Sequence[R]], *, name: str, finish: Finish[O, R] | None = None):
        self._run = run
        self._finish = finish
        self._waiting: list[tuple[O, asyncio.Future[R]]] = []
        self._busy = False
        self._wanted = 1
        self._until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # that on which the present group gathers
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.failed = False
        """Whether the last group failed."""

    def add(self, order: O) -> asyncio.Future[R]:
        """It will be carried out, whether anybody waits for the future or not. Errors: RequestError 503 where too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            raise unavailable(f"{MOST_WAITING} requests wait for the books", 1)
        if not self._busy:
            self._loop = asyncio.get_running_loop()  # a call of the system, in Python 3.11
        loop = self._loop
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((order, future))
        if not self._busy:
            self._busy = True
            self._gather(loop)
        elif self._timer is not None and len(self._waiting) >= self._wanted:
            self._timer.cancel()
            self._start(loop)
        return future

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        while self._busy:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """End the thread, after what waits."""
        await self.drained()
        self._worker.shutdown(wait=True)

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, once as many wait as did lately, or it is no use to wait for more."""
        wait_s = self._until_s - loop.time()
        if len(self._waiting) < self._wanted and wait_s > 0:
            self._timer = loop.call_later(wait_s, self._start, loop)
        else:
            # Not at once: whatever else comes in this turn of the loop goes along.
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        group, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        started_s = loop.time()
        done = self._worker.submit(self._run, [order for order, _ in group])
        done.add_done_callback(lambda done: loop.call_soon_threadsafe(self._done, loop, group, done, started_s))

    def _done(
        self, loop: asyncio.AbstractEventLoop, group: list[tuple[O, asyncio.Future[R]]], done: Future[Sequence[R]], started_s: float
    ) -> None:
        """Back on the event loop."""
        now_s = loop.time()
        self._wanted = min(LARGEST, len(group) + len(self._waiting))
        self._until_s = now_s + min(_LONGEST_S, _PATIENCE * (now_s - started_s))
        self._busy = bool(self._waiting)
        if self._busy:
            self._gather(loop)
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
