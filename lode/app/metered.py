"""A route that uses the model: nothing runs before it is reserved, nothing is answered before it is settled.

    key -> body -> `read` (what is asked, and the most that it can take) -> Gate.reserve -> `work` -> Gate.settle -> answer

Every predicting endpoint is a `Metered` and writes `read` and `work` only, so none can forget a step.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Generic, TypeVar

from starlette.types import Receive

from lode.app.answering import Answering, Desk, Reply, Stream, body_of
from lode.app.contracts import Asked, Caller, Endpoint, Gate, Hold, Kept, RequestError, Usage
from lode.core.types import quick

T = TypeVar("T")
_LONGEST_KEY = 255
REPLAYED = (b"x-lode-replayed", b"true")
REQUEST_ID = b"x-lode-request-id"
"""Says under which id the request is billed, and its outcomes may be reported."""


@quick
class Order(Generic[T]):
    """A body that was read and found good. model: as it names it. most: units that it can take at most. content: for `work`.

    cost_most, cost_currency: what a provider can take for it at most.
    """

    model: str
    most: Mapping[str, int]
    content: T
    cost_most: int = 0
    cost_currency: str = ""


class Tally:
    """What one request takes, counted while it is worked on.

    caller: who asked. units: of the model, read when the request ends, so that they are exact as far as it got.
    lost_us: compute of a call that failed. cost, cost_currency, provider, estimated, predicted: as in `Usage`.
    """

    # What nearly every request leaves as it is belongs to the class: to write it down for each takes longer.
    status = 500
    answer_bytes = 0
    lost_us = 0
    units: Callable[[], Mapping[str, int]] = staticmethod(dict)
    cost = 0
    cost_currency = ""
    provider = ""
    estimated = False
    predicted = ""

    def __init__(self, caller: Caller, request_bytes: int, started: float):
        self.caller = caller
        self.request_bytes = request_bytes
        self.started = started

    def all_units(self) -> dict[str, int]:
        """Those that are not 0."""
        found = {"compute_us": self.lost_us, "request_bytes": self.request_bytes, "answer_bytes": self.answer_bytes, **self.units()}
        return found if all(found.values()) else {name: count for name, count in found.items() if count}


class Metered(Answering, Generic[T]):
    """An endpoint that uses the model."""

    def __init__(self, desk: Desk, endpoint: Endpoint):
        super().__init__(desk, endpoint)
        # Request ids of the bill, where the client sends none: unique for ever.
        self._ids, self._numbers = f"req_{secrets.token_hex(10)}_", itertools.count(1)

    @abstractmethod
    async def read(self, body: bytes, caller: Caller) -> Order[T]:
        """What is asked, and the most that it can take. Errors: RequestError 4xx; then nothing is reserved or noted."""

    @abstractmethod
    async def work(self, order: Order[T], receive: Receive, tally: Tally) -> Reply:
        """The good answer. Counts into the tally what it takes, as it takes it. receive: says when the client has hung up.

        Errors: RequestError.
        """

    def refusal(self) -> RequestError | None:
        """What every request is told that comes now, whoever sends it: no room. Asked first, so that overload costs little."""
        return None

    def told(self, tally: Tally) -> None:
        """Called once for each request that was worked on, when it ends: for metrics."""

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        desk, refusal = self.desk, self.refusal()
        if refusal is not None:
            raise refusal
        caller = await desk.admitted(headers)
        body = await body_of(desk, headers, receive)
        order = await self.read(body, caller)
        hold = await desk.gate.reserve(caller, self._asked(order, headers, body))
        if hold.replay is not None:
            return _replayed(hold.replay)
        run = _Run(self, hold, Tally(caller, len(body), started))
        # Whoever can ask again with the same key gets the whole answer then: such a request runs to its end.
        return await run.reply(order, _never if hold.asked.is_repeatable else receive)

    def _asked(self, order: Order[T], headers: Mapping[bytes, bytes], body: bytes) -> Asked:
        """Errors: RequestError 400 for an Idempotency-Key that is none."""
        given, most = headers.get(b"idempotency-key"), {**order.most, "request_bytes": len(body)}
        if given is None:
            id = f"{self._ids}{next(self._numbers):08x}"  # in the order in which an index grows at one end
            return Asked(id, order.model, most, False, "", order.cost_most, order.cost_currency)
        if not given or len(given) > _LONGEST_KEY or not given.isascii() or not given.decode("ascii").isprintable():
            text = f"Idempotency-Key: found {len(given)} bytes, wanted 1 to {_LONGEST_KEY} printable ASCII characters. Send another one."
            raise RequestError(400, "invalid_idempotency_key", text)
        fingerprint = hashlib.sha256(self.endpoint.path.encode() + b"\0" + body).hexdigest()
        return Asked(given.decode("ascii"), order.model, most, True, fingerprint, order.cost_most, order.cost_currency)


class _Run(Generic[T]):
    """One request from its reservation to its settlement."""

    def __init__(self, endpoint: Metered[T], hold: Hold, tally: Tally):
        self._endpoint = endpoint
        self._gate: Gate = endpoint.desk.gate
        self._hold = hold
        self._tally = tally
        self._keeps_bytes = self._gate.keeps_bytes if hold.asked.is_repeatable else 0
        self._parts: list[bytes] = []
        self._is_over = False

    async def reply(self, order: Order[T], receive: Receive) -> Reply:
        tally, is_stream = self._tally, False
        try:
            status, body, made = await self._endpoint.work(order, receive, tally)
            headers = [*made, (REQUEST_ID, self._hold.asked.request_id.encode())]
            if isinstance(body, Stream):
                is_stream = True
                return status, replace(body, parts=self._metered(body, status, headers), ended=self._release), headers
            tally.status, tally.answer_bytes = status, len(body)
            instead = await self._settle(self._kept(status, headers, [body]))
            return (status, body, headers) if instead is None else _replayed(instead)
        except RequestError as failure:
            tally.status = failure.status
            tally.lost_us = failure.compute_us
            raise
        finally:
            if self._is_over:
                self._release()
            elif not is_stream:
                await self._end()

    async def _metered(self, stream: Stream, status: int, headers: Any) -> AsyncGenerator[bytes, None]:
        """The parts of a stream; its end only after it is settled."""
        tally = self._tally
        try:
            async with aclosing(stream.parts) as parts:
                async for part in parts:
                    self._keep(part)
                    yield part
            end = stream.end()
            self._keep(end)
            tally.status = status
            await self._settle(self._kept(status, headers, self._parts))
            yield end
        except RequestError as failure:
            tally.status = failure.status
            raise
        except GeneratorExit:
            tally.status = 408  # the client reads nothing: what it was sent is settled
            raise
        finally:
            await self._end()

    def _keep(self, part: bytes) -> None:
        self._tally.answer_bytes += len(part)
        if self._keeps_bytes:
            self._parts.append(part)
            if self._tally.answer_bytes > self._keeps_bytes:
                self._keeps_bytes = 0
                self._parts.clear()

    def _kept(self, status: int, headers: Any, parts: list[bytes]) -> Kept | None:
        body = b"".join(parts) if self._keeps_bytes else b""
        return Kept(status, tuple(headers), body) if body and len(body) <= self._keeps_bytes else None

    async def _settle(self, kept: Kept | None = None) -> Kept | None:
        """Once."""
        self._is_over = True
        tally, model = self._tally, self._endpoint.desk.model
        self._endpoint.told(tally)
        usage = Usage(
            self._hold.asked.request_id, self._hold.asked.model, model.version, tally.status, tally.all_units(),
            time.perf_counter() - tally.started, tally.cost, tally.cost_currency, tally.provider, tally.estimated, tally.predicted,
        )  # fmt: skip
        return await self._gate.settle(self._hold, usage, kept)

    async def _end(self) -> None:
        """However it ended: what was taken is noted, the rest is free again."""
        try:
            if not self._is_over:
                await self._settle()
        finally:
            self._release()

    def _release(self) -> None:
        self._gate.release(self._hold)


def _replayed(kept: Kept) -> Reply:
    return kept.status, kept.body, [*kept.headers, REPLAYED]


async def _never() -> MutableMapping[str, Any]:
    """A client that is not listened to."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
