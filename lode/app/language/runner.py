"""The engine in a thread of its own, and the event loop's side of it: tickets to which the engine's deltas are delivered.

The worker thread is the only one that touches the engine. Between two steps it does what the event loop asked for, in that order: new
sequences, cancellations, and other work (embedding a few texts), of which one piece waits at a time, so that it cannot starve what is
being generated. Everything else here happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lode.app.contracts import RequestError
from lode.app.language.contracts import Steps
from lode.core.errors import LodeError
from lode.core.tracing import frames
from lode.model.language.engine.contracts import Delta, Facts, Request
from lode.model.language.engine.errors import ContextOverflowError, QueueFullError, UnknownAdapterError

_LOG = logging.getLogger("lode.app")
T = TypeVar("T")

_TOGETHER_S = 0.004

MAX_PENDING = 4096
"""Deltas that a client may leave unread. They are small; what it means is that a client that reads nothing ends there."""


class Ticket:
    """The sequences of one request. Used on the event loop's thread.

    compute_us: what their steps took so far: each step is divided among the sequences that ran in it, however much each did.
    """

    def __init__(self, runner: Runner, ids: Sequence[str]):
        self._runner = runner
        self._pending: list[Delta] = []
        self._wake = asyncio.Event()
        self._failure: RequestError | None = None
        self.open = set(ids)
        self.started = time.monotonic()
        self.compute_us = 0

    async def take(self, timeout_s: float) -> list[Delta]:
        """Everything that has come since the last call; waits until there is something.

        Errors: RequestError that ended the request; TimeoutError.
        """
        if not self._pending and self._failure is None:
            self._wake.clear()
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        if not self._pending and self._failure is not None:
            raise self._failure
        found, self._pending = self._pending, []
        return found

    def put(self, delta: Delta) -> None:
        """A delta came."""
        self._pending.append(delta)
        if delta.finish_reason is not None:
            self.open.discard(delta.id)
        if len(self._pending) > MAX_PENDING:
            self._pending = []
            self.fail(RequestError(408, "slow_reader", f"{MAX_PENDING:,} chunks were not read. Read the answer as it comes."))
        self._wake.set()

    def fail(self, failure: RequestError) -> None:
        """End the request: what came is still taken, then the failure is raised."""
        if self._failure is None:
            self._failure = failure
            self._wake.set()
            self.close()

    def close(self) -> None:
        """Nobody waits any more: what is still open is cancelled, and its pages are freed."""
        self._runner.forget(self)


class Runner:
    """The engine of one service. is_dead: the engine failed; nothing can be answered.

    on_step: told (seconds, facts) of every step; None seconds where only facts changed. parallel: sequences that are generated together.
    most: those that may be generated or wait.
    """

    def __init__(self, engine: Steps, *, parallel: int, most: int, on_step: Callable[[float | None, Facts], None]):
        self._engine = engine
        self._parallel, self._most = parallel, most
        self._on_step = on_step
        self._tickets: dict[str, Ticket] = {}
        self._one_call = asyncio.Lock()
        self._turn = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="lode-engine")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._s_per_sequence = 0.0
        self._held: list[Delta] = []
        self._inside: dict[str, int] = {}  # sequence -> microseconds since they were last told; in the order they came
        self._delivered = 0.0
        self.is_dead = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where deltas are delivered. Called once, on the event loop."""
        self._loop = loop

    def close(self) -> None:
        """Stop after the step that is under way."""
        self.is_dead = True
        self._worker.shutdown(wait=True)
        self.fail_all(_dead)

    async def submit(self, requests: Sequence[Request]) -> Ticket:
        """Queue the sequences of one request, all or none.

        Errors: RequestError 400 (too long), 404 (adapter), 429 (queue full), 503 (the engine failed).
        """
        ticket = Ticket(self, [request.id for request in requests])
        for request in requests:
            self._tickets[request.id] = ticket
        is_queued = False
        try:
            await asyncio.wrap_future(self._wish(lambda: self._submit(requests)))
            is_queued = True
        finally:
            if not is_queued:
                ticket.close()
        return ticket

    async def call(self, work: Callable[[], T]) -> T:
        """What a piece of work on the engine's weights gives; it runs between two steps. Errors: those of the work; RequestError 503."""
        async with self._one_call:
            return await asyncio.wrap_future(self._wish(work))

    def refusal(self) -> RequestError | None:
        """What a request is told that comes now, before it costs anything; None where there is room."""
        if len(self._tickets) < self._most:
            return None
        return self._full(f"{len(self._tickets):,} answers are generated or wait, and at most {self._most:,} may.")

    def forget(self, ticket: Ticket) -> None:
        """Cancel what is still open of a request."""
        for id in ticket.open:
            self._tickets.pop(id, None)
        ids, ticket.open = sorted(ticket.open), set()
        if ids and not self.is_dead:
            self._wish(lambda: self._cancel(ids))

    def fail_all(self, make: Callable[[], RequestError]) -> None:
        """End every request."""
        for ticket in set(self._tickets.values()):
            ticket.fail(make())

    def _wish(self, work: Callable[[], T]) -> Future[T]:
        """Have something done in the worker thread, which then goes on to generate."""
        if self.is_dead:
            raise _dead()
        self._turn += 1
        wish = self._worker.submit(self._do, work)
        self._worker.submit(self._generate, self._turn).add_done_callback(self._watch)
        return wish

    def _do(self, work: Callable[[], T]) -> T:
        """In the worker thread; a failure is its caller's."""
        if self.is_dead:
            raise _dead()
        return work()

    def _generate(self, turn: int) -> None:
        """In the worker thread: step until there is nothing to generate, or something was asked for after `turn`."""
        assert self._loop is not None
        while self._engine.has_work and turn == self._turn and not self.is_dead:
            self._step()
        if not self._engine.has_work:
            self._loop.call_soon_threadsafe(self._on_step, None, self._engine.facts())

    def _watch(self, done: Future[None]) -> None:
        """In the worker thread: what a step raises is the engine's fault, and its end."""
        error = done.exception()
        if error is not None:
            self.is_dead = True
            _LOG.critical("the engine failed; every open request ends with an error\n%s", frames(error))
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self.fail_all, _dead)

    def _step(self) -> None:
        """One step in the worker thread. What quick steps bring goes over together: to wake the event loop takes time from both."""
        assert self._loop is not None
        started = time.perf_counter()
        deltas = self._engine.step()
        now = time.perf_counter()
        self._held += deltas
        self._share(deltas, round((now - started) * 1e6))
        slow = now - started > _TOGETHER_S or now - self._delivered > _TOGETHER_S
        if slow or any(delta.finish_reason is not None for delta in deltas):
            held, self._held, self._delivered = self._held, [], now
            told, ended = self._inside, _ended(held)
            self._inside = {id: 0 for id in told if id not in ended}
            self._loop.call_soon_threadsafe(self._deliver, held, told, now - started, self._engine.facts())

    def _share(self, deltas: Sequence[Delta], step_us: int) -> None:
        """Divide a step among the sequences that ran in it: those that came first, as many as run, and those that ended in it."""
        ended, left = _ended(deltas), self._engine.facts().running
        ran = [id for id in self._inside if id in ended]
        ran += [id for id in self._inside if id not in ended][:left]
        for place, id in enumerate(ran):
            self._inside[id] += step_us * (place + 1) // len(ran) - step_us * place // len(ran)

    def _submit(self, requests: Sequence[Request]) -> None:
        """In the worker thread. Errors: RequestError."""
        facts, done = self._engine.facts(), list[str]()
        busy = facts.running + facts.waiting
        if busy + len(requests) > self._most:
            raise self._full(f"{busy:,} answers are generated or wait, and at most {self._most:,} may.")
        try:
            for request in requests:
                self._engine.submit(request)
                self._inside[request.id] = 0
                done.append(request.id)
        except LodeError as error:
            raise self._refusal(error) from None
        finally:
            if len(done) < len(requests):
                self._cancel(done)

    def _cancel(self, ids: Sequence[str]) -> None:
        """In the worker thread."""
        for id in ids:
            self._inside.pop(id, None)
            self._engine.cancel(id)

    def _refusal(self, error: LodeError) -> RequestError:
        """What the engine refuses, as the client is told."""
        message = str(error)
        if isinstance(error, QueueFullError):
            return self._full(message)
        if isinstance(error, ContextOverflowError):
            return RequestError(400, "context_length_exceeded", message, param="messages")
        if isinstance(error, UnknownAdapterError):
            return RequestError(404, "model_not_found", message, param="model")
        return RequestError(400, "invalid_request", message)

    def _full(self, message: str) -> RequestError:
        rounds = max(1.0, len(self._tickets) / self._parallel)
        wait_s = min(60, max(1, math.ceil(self._s_per_sequence * rounds)))
        return RequestError(
            429, "queue_full", f"{message} Try again in {wait_s} s.", headers=[(b"retry-after", str(wait_s).encode())]
        )

    def _deliver(self, deltas: Sequence[Delta], spent_us: Mapping[str, int], seconds: float, facts: Facts) -> None:
        """On the event loop: hand out what a step brought, and what it took."""
        for id, spent in spent_us.items():
            if id in self._tickets:
                self._tickets[id].compute_us += spent
        for delta in deltas:
            ticket = self._tickets.get(delta.id)
            if ticket is None:
                continue
            if delta.finish_reason is not None:
                del self._tickets[delta.id]
                self._s_per_sequence = 0.8 * self._s_per_sequence + 0.2 * (time.monotonic() - ticket.started)
            ticket.put(delta)
        self._on_step(seconds, facts)


def _ended(deltas: Sequence[Delta]) -> set[str]:
    return {delta.id for delta in deltas if delta.finish_reason is not None}


def _dead() -> RequestError:
    return RequestError(
        503, "engine_failed", "the engine failed, and the server must be started again.", headers=[(b"retry-after", b"10")]
    )
