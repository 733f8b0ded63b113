"""What every endpoint does, whatever is served: key, body, answer or stream, errors, counting. Raw ASGI.

`Desk` is what the endpoints of one model share; `Answering` is one of them: it describes, or it is `Metered`
(`lode/app/metered.py`). Table models: `lode/app/endpoints.py`; language models: `lode/app/language/endpoints.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from starlette.types import Message, Receive, Scope, Send

from lode.app.connection import Exchange
from lode.app.contracts import Caller, Endpoint, Gate, RequestError, Status
from lode.app.monitor import CONTENT_TYPE, Monitor
from lode.core.tracing import frames

_LOG = logging.getLogger("lode.app")
JSON = b"application/json"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Stream:
    """A body that is sent as it comes. end: makes its last part, once what was taken is noted.

    broken: makes what is sent last where it breaks off. ended: called when nothing more will be sent, however it went.
    """

    parts: AsyncGenerator[bytes, None]
    broken: Callable[[RequestError], bytes]
    end: Callable[[], bytes] = lambda: b""
    ended: Callable[[], None] = lambda: None


Reply = tuple[int, bytes | Stream, Headers]
"""Status, body, headers."""


class Named(Protocol):
    """What every model that is served has."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int | None: ...


class Desk:
    """What the endpoints of one model share.

    max_body_bytes: of one request. body_timeout_s: within which it must have arrived.
    draining: set when the server was told to stop. active: requests being answered. answered: requests so far.
    """

    def __init__(self, model: Named, gate: Gate, monitor: Monitor, *, max_body_bytes: int, body_timeout_s: float):
        self.model = model
        self.gate = gate
        self.monitor = monitor
        self.max_body_bytes = max_body_bytes
        self.body_timeout_s = body_timeout_s
        self.draining = False
        self.active = 0
        self.answered = 0
        self._start = f"{os.urandom(4).hex()}-".encode()
        self._numbers = itertools.count(1)

    @property
    def status(self) -> Status:
        return Status(ready=not self.draining)

    def overdue(self) -> None:
        """The time that open requests had after the server was told to stop is over."""

    def request_id(self, given: bytes | None) -> bytes:
        """The client's own id where it is short printable ASCII, else a new one."""
        if given and len(given) <= 128 and given.isascii() and given.decode("ascii").isprintable():
            return given
        return b"%s%x" % (self._start, next(self._numbers))

    async def admitted(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who calls. Errors: RequestError 401 and 403; 503 once the server was told to stop."""
        caller = await self.gate.authorize(headers)
        if self.draining:
            raise RequestError(503, "stopping", "the server is stopping.", headers=[(b"retry-after", b"1")])
        return caller


class Answering(ABC):
    """One endpoint: answer, count, log what is our fault."""

    def __init__(self, desk: Desk, endpoint: Endpoint):
        self.desk = desk
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk, started = self.desk, time.perf_counter()
        headers = dict(scope["headers"])
        request_id = desk.request_id(headers.get(b"x-request-id"))
        desk.active += 1
        begun: Stream | None = None
        try:
            try:
                status, body, extra = await self.answer(headers, receive, request_id, started)
                if isinstance(body, Stream):
                    begun = body
                    status = await self._stream(send, body, status, [*extra, *self._last(request_id)])
            # The one broad catch: what we did wrong costs one request, is logged with its id, is a 500 to the client.
            except Exception as error:  # noqa: BLE001
                if not isinstance(error, RequestError):
                    _LOG.error("request %s failed\n%s", request_id.decode(), frames(error))
                failure = error if isinstance(error, RequestError) else _internal()
                if begun is None:
                    status, body, extra = self.failed(failure, request_id)
                else:
                    status = await self._break_off(send, begun, failure, request_id)
            desk.monitor.request(self.endpoint.path, status, time.perf_counter() - started)
            desk.answered += 1
            if status != 499 and isinstance(body, bytes):
                extra = [*extra, *self._last(request_id), (b"content-length", b"%d" % len(body))]
                exchange = _exchange(send)
                if exchange is not None:
                    await exchange.send_whole(status, extra, body)
                else:
                    await send({"type": "http.response.start", "status": status, "headers": extra})
                    await send({"type": "http.response.body", "body": body})
        finally:
            desk.active -= 1

    @abstractmethod
    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        """The good answer. Errors: RequestError."""

    def _last(self, request_id: bytes) -> Headers:
        """Headers of every answer. Once the server was told to stop, its client is told to send nothing more on this connection."""
        own = (b"x-request-id", request_id)
        return (own, (b"connection", b"close")) if self.desk.draining else (own,)

    def failed(self, failure: RequestError, request_id: bytes) -> Reply:
        """Status, body and headers of a bad answer."""
        self._note(failure, request_id)
        return failure.status, self.encode_error(failure), [(b"content-type", JSON), *failure.headers]

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps({"error": {"type": failure.type, "message": failure.message}})

    def _note(self, failure: RequestError, request_id: bytes) -> None:
        """Count a failure, and log what is our fault."""
        if failure.__cause__ is not None:
            _LOG.error("request %s failed\n%s", request_id.decode(), frames(failure.__cause__))
        self.desk.monitor.rejected(failure.type)
        if failure.status >= 500:
            failure.message = f"{failure.message} Request id {request_id.decode()}."

    async def _stream(self, send: Send, stream: Stream, status: int, headers: Headers) -> int:
        """Send the parts of a body as they come. Returns the status it ended with. Errors: what making the parts raises."""

        async def give(message: Message) -> None:
            # A client that reads nothing must not hold its request for ever.
            async with asyncio.timeout(self.desk.body_timeout_s):
                await send(message)

        try:
            async with aclosing(stream.parts) as parts:
                try:
                    # Before the head: only what has begun notes at its end what it took, should the head not go out.
                    part = await anext(parts, None)
                finally:
                    await give({"type": "http.response.start", "status": status, "headers": headers})
                while part is not None:
                    await give({"type": "http.response.body", "body": part, "more_body": True})
                    part = await anext(parts, None)
        except TimeoutError:
            self.desk.monitor.rejected("slow_reader")
            return 408  # without an end of the body, upon which the connection is closed
        finally:
            stream.ended()
        await send({"type": "http.response.body", "body": b""})
        return status

    async def _break_off(self, send: Send, stream: Stream, failure: RequestError, request_id: bytes) -> int:
        """The head has been sent: an error becomes the last part. Returns its status."""
        self._note(failure, request_id)
        await send({"type": "http.response.body", "body": stream.broken(failure)})
        return failure.status


class Describe(Answering):
    """A route that predicts nothing: health, metadata, metrics."""

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        desk, endpoint = self.desk, self.endpoint
        if not endpoint.public:
            await desk.gate.authorize(headers, endpoint.scope)
        if endpoint.describe is None:
            return 200, desk.monitor.text(), [(b"content-type", CONTENT_TYPE.encode())]
        status, record = endpoint.describe(desk.status)
        return status, orjson.dumps(record, default=str), [(b"content-type", JSON)]


async def until_gone(receive: Receive) -> None:
    """Returns when the client has hung up. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def body_of(desk: Desk, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The whole JSON body. Errors: RequestError 415, 413 (once it is known to be too large), 408 (too slow), 499."""
    _check_head(headers, desk.max_body_bytes)
    exchange = _exchange(receive)
    whole = None if exchange is None else exchange.arrived()
    if whole is not None:
        return whole if len(whole) <= desk.max_body_bytes else _refuse(desk.max_body_bytes)
    task, is_late = asyncio.current_task(), False
    assert task is not None

    def end() -> None:
        nonlocal is_late
        is_late = task.cancel()

    # What `asyncio.timeout` does, in a third of its time: nearly every body is there already. It is for the first part too: a client
    # that sends its head and then nothing must not hold a request open for ever.
    handle = asyncio.get_running_loop().call_later(desk.body_timeout_s, end)
    try:
        part, has_more = _part(await receive())
        if not has_more:
            return part if len(part) <= desk.max_body_bytes else _refuse(desk.max_body_bytes)
        return await _joined(bytearray(part), receive, desk.max_body_bytes)
    except asyncio.CancelledError:
        if is_late and task.uncancel() == 0:
            raise RequestError(408, "slow_request", f"the body did not arrive within {desk.body_timeout_s:g} s.") from None
        raise
    finally:
        handle.cancel()


def _exchange(call: Receive | Send) -> Exchange | None:
    """The connection's own end of a request, whose method `call` is; None on another server, or where something stands between."""
    owner = getattr(call, "__self__", None)
    return owner if isinstance(owner, Exchange) else None


def _check_head(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Errors: RequestError 415, 413."""
    media_type = headers.get(b"content-type", b"")
    if media_type != JSON and media_type.partition(b";")[0].strip().lower() != JSON:
        found = media_type.partition(b";")[0].strip().lower().decode("latin-1") or "nothing"
        raise RequestError(415, "unsupported_media_type", f'Content-Type: found "{found}", application/json is wanted.')
    if b"content-encoding" in headers or b"inference-header-content-length" in headers:
        raise RequestError(415, "unsupported_media_type", "the body is compressed or has a binary part. Send plain JSON.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)


async def _joined(body: bytearray, receive: Receive, limit: int) -> bytes:
    """A body that comes in several parts, from its first one on. Errors: RequestError 413, 499."""
    has_more = True
    while has_more:
        if len(body) > limit:
            raise _too_large(limit)
        part, has_more = _part(await receive())
        body += part
    return bytes(body) if len(body) <= limit else _refuse(limit)


def _part(message: Mapping[str, Any]) -> tuple[bytes, bool]:
    """A part of a body, and whether more follow. Errors: RequestError 499."""
    if message["type"] == "http.disconnect":
        raise RequestError(499, "client_gone", "the client hung up before its request was complete.")
    return message.get("body", b""), message.get("more_body", False)


def _internal() -> RequestError:
    return RequestError(500, "internal", "the server failed on this request.")


def _too_large(limit: int) -> RequestError:
    return RequestError(413, "too_large", f"the body has more than {limit} bytes, which is the limit. Send less in one request.")


def _refuse(limit: int) -> bytes:
    raise _too_large(limit)
