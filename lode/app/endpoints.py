"""The endpoints of the service of a table model, as raw ASGI applications: read, check, predict, answer, count.

A prediction: `Predict` (key, size, type) -> protocol.decode -> Batcher (queue) -> Engine (model, in the worker thread)
-> protocol.encode. What every endpoint does is in `lode/app/answering.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.types import Receive

from lode.app.answering import JSON, Answering, Desk, Reply, body_of, until_gone
from lode.app.batching import Batcher
from lode.app.contracts import Answer, Cells, Endpoint, Gate, Protocol, RequestError, Servable, Usage
from lode.app.monitor import RowMonitor

_THREAD_BYTES = 1 << 20
"""Bodies from this size on are decoded in a thread, so that other requests need not wait for it."""


class Service(Desk):
    """What the endpoints of one table model share."""

    def __init__(
        self,
        model: Servable,
        gate: Gate,
        batcher: Batcher,
        monitor: RowMonitor,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
    ):
        super().__init__(model, gate, monitor, max_body_bytes=max_body_bytes, body_timeout_s=body_timeout_s)
        self.batcher = batcher
        self.rows = monitor


class Predict(Answering):
    """A route that predicts the rows of a body."""

    def __init__(self, service: Service, endpoint: Endpoint, protocol: Protocol):
        super().__init__(service, endpoint)
        self.service = service
        self.protocol = protocol

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        service = self.service
        caller = await service.admitted(headers)
        size, rows, status, body = 0, 0, 500, b""
        try:
            request = await body_of(service, headers, receive)
            size = len(request)
            cells, answer = await self._predict(request, receive)
            body = self.protocol.encode(cells, answer)
            status, rows = 200, answer.num_rows
        except RequestError as failure:
            status = failure.status
            raise
        finally:
            model, seconds = service.model, time.perf_counter() - started
            usage = Usage(request_id.decode(), model.name, model.version, status, rows, size, len(body), seconds)
            await service.gate.settle(caller, usage)
        service.rows.predicted(rows, answer.unseen)
        return status, body, [(b"content-type", JSON)]

    def encode_error(self, failure: RequestError) -> bytes:
        return self.protocol.encode_error(failure)

    async def _predict(self, request: bytes, receive: Receive) -> tuple[Cells, Answer]:
        decode = self.protocol.decode
        cells = decode(request) if len(request) < _THREAD_BYTES else await asyncio.to_thread(decode, request)
        return cells, await self.service.batcher.submit(cells, lambda: until_gone(receive))
