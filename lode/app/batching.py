"""Requests wait here for the model: a bounded queue, merged into one model call whenever the worker is free.

No artificial delay: an idle worker takes what is there at once; while it works, requests gather, so batches grow with
the load. A worker that is done takes the next batch itself, for under load the event loop has others to serve first: only
the queue is shared by the two threads, under a lock. All else happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lode.app.contracts import Answer, Cells, RequestError

Run = Callable[[Sequence[Cells]], "list[Answer | RequestError]"]
"""One model call: an answer or a failure for each request, in order. Called in the worker thread; must not raise."""

_SWEEP_S = 0.05
"""Deadlines and lost clients are looked for so often: a fast answer costs no timer and no task of its own."""


class _Job:
    __slots__ = ("cells", "deadline", "future", "gone", "submitted", "watch")

    def __init__(
        self,
        cells: Cells,
        gone: Callable[[], Awaitable[None]],
        now: float,
        timeout_s: float,
        future: asyncio.Future[Answer],
    ):
        self.cells = cells
        self.gone = gone
        self.future = future
        self.submitted = now
        self.deadline = now + timeout_s
        self.watch: asyncio.Task[None] | None = None

    def settle(self, result: Answer | RequestError) -> None:
        """Give the result to whoever still waits for it."""
        if not self.future.done():
            if isinstance(result, RequestError):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)


class Batcher:
    """The queue in front of one model.

    max_batch: rows that are merged into one call; a larger request is a call of its own.
    queue_rows: rows that may wait; an empty queue takes any request.
    timeout_s: from submission to the answer. max_wait_ms: how long the oldest request may wait for company.
    on_batch: told (requests, rows, seconds) of every model call.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        queue_rows: int,
        timeout_s: float,
        max_wait_ms: float = 0.0,
        on_batch: Callable[[int, int, float], None] | None = None,
    ):
        self._run = run
        self._max_batch = max_batch
        self._queue_rows = queue_rows
        self._timeout_s = timeout_s
        self._max_wait_s = max_wait_ms / 1000.0
        self._on_batch = on_batch
        self._waiting: deque[_Job] = deque()
        self._queue = threading.Lock()  # of `_waiting` and `waiting_rows`
        self._open: set[_Job] = set()
        self._busy = False
        self._sweeping = False
        self._timer: asyncio.TimerHandle | None = None
        self._s_per_row = 0.0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="lode-model")
        self.waiting_rows = 0

    async def submit(self, cells: Cells, gone: Callable[[], Awaitable[None]]) -> Answer:
        """Wait for the answer. gone: returns when the client has hung up; awaited only for requests that take long.

        Errors: RequestError 429 (queue full), 504 (deadline passed), 499 (client gone), and those of the model call.
        """
        if self._waiting and self.waiting_rows + cells.num_rows > self._queue_rows:
            raise self._full()
        loop = asyncio.get_running_loop()
        job = _Job(cells, gone, loop.time(), self._timeout_s, loop.create_future())
        with self._queue:
            self._waiting.append(job)
            self.waiting_rows += cells.num_rows
        self._open.add(job)
        if not self._busy:
            # Not at once: whatever else has arrived in this turn of the loop comes along.
            self._busy = True
            loop.call_soon(self._start)
        elif self._timer is not None and self.waiting_rows >= self._max_batch:
            self._timer.cancel()
            self._start()
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_SWEEP_S, self._sweep)
        try:
            return await job.future
        finally:
            self._open.discard(job)
            if job.watch is not None:
                job.watch.cancel()

    def refusal(self) -> RequestError | None:
        """What a request is told that comes now, before it costs anything; None where there is room."""
        return self._full() if self._waiting and self.waiting_rows >= self._queue_rows else None

    def close(self) -> None:
        """Stop the worker; call when nothing waits any more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _full(self) -> RequestError:
        wait_s = min(60, max(1, math.ceil(self.waiting_rows * self._s_per_row)))
        message = f"{self.waiting_rows} rows are waiting, at most {self._queue_rows} may. Try again in {wait_s} s."
        return RequestError(429, "queue_full", message, headers=[(b"retry-after", str(wait_s).encode())])

    def _start(self) -> None:
        """Hand the next batch to the worker, which is idle, or note that there is none."""
        loop = asyncio.get_running_loop()
        self._timer = None
        jobs, wait_s = self._take(loop.time())
        if jobs:
            self._worker.submit(self._work, jobs, loop)
        elif wait_s:
            self._timer = loop.call_later(wait_s, self._start)
        else:
            self._busy = False

    def _take(self, now: float) -> tuple[list[_Job], float]:
        """The oldest request and all that can be merged with it, oldest first; where it waits for company, nothing, and how long still."""
        with self._queue:
            while self._waiting and self._waiting[0].future.done():
                self.waiting_rows -= self._waiting.popleft().cells.num_rows
            if not self._waiting:
                return [], 0.0
            wait_s = self._waiting[0].submitted + self._max_wait_s - now
            if self._max_wait_s and wait_s > 0 and self.waiting_rows < self._max_batch:
                return [], wait_s
            return self._merged(), 0.0

    def _merged(self) -> list[_Job]:
        taken: list[_Job] = []
        passed: list[_Job] = []
        num_rows, dtypes = 0, self._waiting[0].cells.dtypes
        while self._waiting:
            job = self._waiting.popleft()
            if job.future.done():
                self.waiting_rows -= job.cells.num_rows
                continue
            if taken and num_rows + job.cells.num_rows > self._max_batch:
                passed.append(job)
                break
            if job.cells.dtypes == dtypes:
                taken.append(job)
                num_rows += job.cells.num_rows
            else:
                passed.append(job)
        self._waiting.extendleft(reversed(passed))
        self.waiting_rows -= num_rows
        return taken

    def _work(self, jobs: list[_Job], loop: asyncio.AbstractEventLoop) -> None:
        """In the worker thread: this batch, and those that wait when it is done."""
        while jobs:
            results: list[Answer | RequestError] = [RequestError(500, "internal", "the model call was broken off.") for _ in jobs]
            # Not the loop's clock, which has whole milliseconds: this is what a request is charged and costed by.
            started, ended, following = time.perf_counter(), 0.0, list[_Job]()
            try:
                results = self._run([job.cells for job in jobs])
                ended = time.perf_counter()  # before the queue is waited for: that is no part of the call
                following, _ = self._take(loop.time())
            finally:
                # Whatever happens, those who wait are answered and the next batch starts.
                loop.call_soon_threadsafe(self._finish, jobs, results, (ended or time.perf_counter()) - started, not following)
            jobs = following

    def _finish(self, jobs: list[_Job], results: list[Answer | RequestError], seconds: float, is_idle: bool) -> None:
        if is_idle:
            self._start()
        num_rows = sum(job.cells.num_rows for job in jobs)
        self._s_per_row = 0.8 * self._s_per_row + 0.2 * seconds / num_rows
        shares = shared([job.cells.num_rows for job in jobs], round(seconds * 1e6))
        for job, result, compute_us in zip(jobs, results, shares, strict=True):
            job.settle(_measured(result, compute_us))
        if self._on_batch is not None:
            self._on_batch(len(jobs), num_rows, seconds)

    def _sweep(self) -> None:
        """End what is too late; begin to listen for the hang-up of clients that wait long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for job in self._open:
            if job.deadline <= now:
                job.settle(
                    RequestError(504, "timeout", f"no answer within {self._timeout_s:g} s. Send fewer rows, or try again later.")
                )
            elif job.watch is None and job.submitted + _SWEEP_S <= now:
                job.watch = loop.create_task(_watch(job))
        self._sweeping = bool(self._open)
        if self._sweeping:
            loop.call_later(_SWEEP_S, self._sweep)


def shared(weights: Sequence[int], total: int) -> list[int]:
    """`total` divided in proportion to positive `weights` into whole numbers that add up to it exactly; rests go along the row."""
    parts, taken, seen, whole = list[int](), 0, 0, sum(weights)
    for weight in weights:
        seen += weight
        parts.append(total * seen // whole - taken)
        taken += parts[-1]
    return parts


def _measured(result: Answer | RequestError, compute_us: int) -> Answer | RequestError:
    """With what its model call took: a request that fails in the model costs as much as one that is answered."""
    if isinstance(result, RequestError):
        result.compute_us = compute_us
        return result
    return replace(result, compute_us=compute_us)


async def _watch(job: _Job) -> None:
    await job.gone()
    job.settle(RequestError(499, "client_gone", "the client hung up before the answer."))
