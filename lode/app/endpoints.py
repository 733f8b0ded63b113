"""The endpoints of the service, as raw ASGI applications: read, check, predict, answer, count.

A prediction: `Predict` (key, size, type) -> protocol.decode -> Batcher (queue) -> Engine (model, in the worker thread)
-> protocol.encode.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from lode.app.batching import Batcher
from lode.app.contracts import Answer, Caller, Cells, Endpoint, Gate, Protocol, RequestError, Servable, Status, Usage
from lode.app.monitor import CONTENT_TYPE, Monitor

_LOG = logging.getLogger("lode.app")
_JSON = b"application/json"
_THREAD_BYTES = 1 << 20
"""Bodies from this size on are decoded in a thread, so that other requests need not wait for it."""

Headers = Sequence[tuple[bytes, bytes]]
Reply = tuple[int, bytes, Headers]
"""Status, body, headers."""


class Service:
    """What the endpoints of one model share.

    max_body_bytes: of one request. body_timeout_s: within which it must have arrived.
    draining: set when the server was told to stop. active: requests being answered. answered: requests so far.
    """

    def __init__(
        self,
        model: Servable,
        gate: Gate,
        batcher: Batcher,
        monitor: Monitor,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
    ):
        self.model = model
        self.gate = gate
        self.batcher = batcher
        self.monitor = monitor
        self.max_body_bytes = max_body_bytes
        self.body_timeout_s = body_timeout_s
        self.draining = False
        self.active = 0
        self.answered = 0
        self._start = f"{os.urandom(4).hex()}-"
        self._numbers = itertools.count(1)

    @property
    def status(self) -> Status:
        return Status(ready=not self.draining)

    def request_id(self, given: bytes | None) -> bytes:
        """The client's own id where it is short printable ASCII, else a new one."""
        if given and len(given) <= 128 and given.isascii() and given.decode("ascii").isprintable():
            return given
        return f"{self._start}{next(self._numbers):x}".encode()


class _Endpoint(ABC):
    """What both kinds of endpoint do: answer, count, log what is our fault."""

    def __init__(self, service: Service, endpoint: Endpoint):
        self.service = service
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, started = self.service, time.perf_counter()
        headers = dict(scope["headers"])
        request_id = service.request_id(headers.get(b"x-request-id"))
        service.active += 1
        try:
            try:
                status, body, extra = await self.answer(headers, receive, request_id, started)
            except RequestError as failure:
                if failure.__cause__ is not None:
                    _LOG.error("request %s failed", request_id.decode(), exc_info=failure.__cause__)
                status, body, extra = self.failed(failure, request_id)
            # The one broad catch: what we did wrong costs one request, is logged with its id, is a 500 to the client.
            except Exception:  # noqa: BLE001
                _LOG.exception("request %s failed", request_id.decode())
                status, body, extra = self.failed(RequestError(500, "internal", "the server failed on this request."), request_id)
            service.monitor.request(self.endpoint.path, status, time.perf_counter() - started)
            service.answered += 1
            if status != 499:
                await _send(send, status, body, [*extra, (b"x-request-id", request_id)])
        finally:
            service.active -= 1

    @abstractmethod
    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        """The good answer. Errors: RequestError."""

    def failed(self, failure: RequestError, request_id: bytes) -> Reply:
        """Status, body and headers of a bad answer."""
        self.service.monitor.rejected(failure.type)
        if failure.status >= 500:
            failure.message = f"{failure.message} Request id {request_id.decode()}."
        return failure.status, self.encode_error(failure), [(b"content-type", _JSON), *failure.headers]

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps({"error": {"type": failure.type, "message": failure.message}})


class Describe(_Endpoint):
    """A route that predicts nothing: health, metadata, metrics."""

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        service, endpoint = self.service, self.endpoint
        if not endpoint.public:
            await service.gate.authorize(headers.get(b"authorization"))
        if endpoint.describe is None:
            return 200, service.monitor.text(), [(b"content-type", CONTENT_TYPE.encode())]
        status, record = endpoint.describe(service.status)
        return status, orjson.dumps(record, default=str), [(b"content-type", _JSON)]


class Predict(_Endpoint):
    """A route that predicts the rows of a body."""

    def __init__(self, service: Service, endpoint: Endpoint, protocol: Protocol):
        super().__init__(service, endpoint)
        self.protocol = protocol

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        service = self.service
        caller = await service.gate.authorize(headers.get(b"authorization"))
        if service.draining:
            raise RequestError(
                503, "stopping", "the server is stopping.", headers=[(b"retry-after", b"1"), (b"connection", b"close")]
            )
        size, rows, status, body = 0, 0, 500, b""
        try:
            request = await self._body(headers, receive)
            size = len(request)
            cells, answer = await self._predict(request, receive)
            body = self.protocol.encode(cells, answer)
            status, rows = 200, answer.num_rows
        except RequestError as failure:
            status = failure.status
            raise
        finally:
            await self._settle(caller, request_id, status, rows, size, len(body), time.perf_counter() - started)
        service.monitor.predicted(rows, answer.unseen)
        return status, body, [(b"content-type", _JSON)]

    def encode_error(self, failure: RequestError) -> bytes:
        return self.protocol.encode_error(failure)

    async def _predict(self, request: bytes, receive: Receive) -> tuple[Cells, Answer]:
        decode = self.protocol.decode
        cells = decode(request) if len(request) < _THREAD_BYTES else await asyncio.to_thread(decode, request)

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        return cells, await self.service.batcher.submit(cells, gone)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Errors: RequestError 415, 413 (once it is known to be too large), 408 (too slow)."""
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type != _JSON:
            found = media_type.decode("latin-1") or "nothing"
            raise RequestError(415, "unsupported_media_type", f'Content-Type: found "{found}", application/json is wanted.')
        if b"content-encoding" in headers or b"inference-header-content-length" in headers:
            raise RequestError(415, "unsupported_media_type", "the body is compressed or has a binary part. Send plain JSON.")
        limit = self.service.max_body_bytes
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > limit:
            raise _too_large(limit)
        try:
            # The first part too: a client that sends its head and then nothing must not hold a request open for ever.
            async with asyncio.timeout(self.service.body_timeout_s):
                return await self._parts(receive, limit)
        except TimeoutError:
            raise RequestError(408, "slow_request", f"the body did not arrive within {self.service.body_timeout_s:g} s.") from None

    async def _parts(self, receive: Receive, limit: int) -> bytes:
        """The parts of a body joined; most bodies come in one. Errors: RequestError 413, 499."""
        message = await self._part(receive)
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= limit else _refuse(limit)
        long_body = bytearray(body)
        while message.get("more_body", False):
            if len(long_body) > limit:
                raise _too_large(limit)
            message = await self._part(receive)
            long_body += message.get("body", b"")
        return bytes(long_body) if len(long_body) <= limit else _refuse(limit)

    @staticmethod
    async def _part(receive: Receive) -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(499, "client_gone", "the client hung up before its request was complete.")
        return message

    async def _settle(
        self,
        caller: Caller,
        request_id: bytes,
        status: int,
        rows: int,
        request_bytes: int,
        answer_bytes: int,
        seconds: float,
    ) -> None:
        model = self.service.model
        usage = Usage(request_id.decode(), model.name, model.version, status, rows, request_bytes, answer_bytes, seconds)
        await self.service.gate.settle(caller, usage)


def _too_large(limit: int) -> RequestError:
    return RequestError(
        413, "too_large", f"the body has more than {limit} bytes, which is the limit. Send fewer rows in one request."
    )


def _refuse(limit: int) -> bytes:
    raise _too_large(limit)


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
