"""Orders that are carried out together in a thread of their own: whatever gathers while one group is under way is the next.

So a commit (or a reading) serves all who wait, and its cost per request falls as the load grows. A commit costs nearly the same for one
order as for many: the next one waits for those who were there lately, as long as they keep coming back. Used on the event loop.
"""

from __future__ import annotations

import asyncio
import time
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
"""Part of the last group's time: when nobody came for so long, the next group begins with those who are there."""
_LONGEST_S = 0.02
"""Nobody waits longer than this for others, nor than twice the last group's time."""
_TICK_S = 0.001
"""Of the loop's clock (uvloop), which stands still in a turn: one tick may be over before a socket is read. After less nobody waits."""
_WORTH = 8
"""A commit costs about as much as a dozen orders more in another one: it is waited for this many, and more."""
_MOST_DOUBLINGS = 6


class Groups(Generic[O, R]):
    """A queue and a thread. run: carries out a group, in the thread; a result for each order, or it raises for all of them.

    finish: told, on the event loop and before anybody who waits, of the group's orders and results (None each where it raised).
    """

    def __init__(self, run: Callable[[Sequence[O]], Sequence[R]], *, name: str, finish: Finish[O, R] | None = None):
        self._run = run
        self._finish = finish
        self._waiting: list[tuple[O, asyncio.Future[R]]] = []
        self._carrying = False
        self._timer: asyncio.Handle | None = None  # when to look whether the next group begins
        self._wanted = 1
        self._patience_s = self._until_s = 0.0
        self._first = self._seen = 0  # how many were there when it began to wait for others, and when it last looked
        self._vain = self._skips = 0  # how often in a row it was waited in vain; groups that do not wait because of that
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # that on which the present group gathers
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.failed = False
        """Whether the last group failed."""

    def add(self, order: O) -> asyncio.Future[R]:
        """It will be carried out, whether anybody waits for the future or not. Errors: RequestError 503 where too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            raise unavailable(f"{MOST_WAITING} requests wait for the books", 1)
        if not self.is_busy:
            self._loop = asyncio.get_running_loop()  # a call of the system, in Python 3.11
        loop = self._loop
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((order, future))
        if self._carrying:
            return future
        if self._timer is None:
            self._gather(loop)
        elif self._first and len(self._waiting) >= self._wanted:
            self._timer.cancel()
            self._start(loop)
        return future

    @property
    def is_busy(self) -> bool:
        """Whether a group is under way or gathers."""
        return self._carrying or bool(self._waiting)

    async def drained(self) -> None:
        """Returns when nothing waits any more."""
        while self.is_busy:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """End the thread, after what waits."""
        await self.drained()
        self._worker.shutdown(wait=True)

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, once as many wait as did lately, or it is no use to wait for more."""
        here = len(self._waiting)
        if here < self._wanted and not self._skips and time.perf_counter() < self._until_s:
            self._first, self._seen = self._first or here, here
            self._timer = loop.call_later(self._patience_s, self._look, loop)
        else:
            # Not at once: whatever else comes in this turn of the loop goes along.
            self._timer = loop.call_soon(self._start, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether they still keep coming back."""
        (self._gather if len(self._waiting) > self._seen else self._start)(loop)

    def _learn(self) -> None:
        """Where waiting did not double a group (an upstream takes long), the next ones do without: one, three, at last 63 of them."""
        if self._first:
            self._vain = 0 if len(self._waiting) >= 2 * self._first else min(self._vain + 1, _MOST_DOUBLINGS)
            self._skips = 1 << self._vain if self._vain else 0
            self._first = 0

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._learn()
        self._timer, self._carrying = None, True
        group, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        started_s = time.perf_counter()
        done = self._worker.submit(self._run, [order for order, _ in group])
        done.add_done_callback(lambda done: loop.call_soon_threadsafe(self._done, loop, group, done, started_s))

    def _done(
        self, loop: asyncio.AbstractEventLoop, group: list[tuple[O, asyncio.Future[R]]], done: Future[Sequence[R]], started_s: float
    ) -> None:
        """Back on the event loop."""
        now_s = time.perf_counter()
        took_s = now_s - started_s
        self._carrying = False
        self._wanted = min(LARGEST, len(group) + len(self._waiting))
        self._patience_s = max(2 * _TICK_S, min(_LONGEST_S, _PATIENCE * took_s))
        is_worth = len(group) >= _WORTH and took_s >= _TICK_S
        self._until_s = now_s + min(_LONGEST_S, 2 * took_s) if is_worth else 0.0
        self._skips = max(0, self._skips - 1)
        if self._waiting and (self._skips or len(self._waiting) >= self._wanted):
            self._timer = loop.call_soon(self._start, loop)
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
        if self._waiting and self._timer is None:
            self._timer = loop.call_soon(self._gather, loop)  # once the answers of this group have left


def unavailable(why: str, wait_s: int) -> RequestError:
    """The answer where the books are away: nothing is answered without a record."""
    text = f"the books cannot be written now: {why}. Nothing was answered or billed; try again in {wait_s} s."
    return RequestError(503, "books_unavailable", text, headers=[(b"retry-after", str(wait_s).encode())])
