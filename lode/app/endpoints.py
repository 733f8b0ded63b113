"""The endpoints of the service of a table model, as raw ASGI applications: read, check, predict, answer, count.

A prediction: `Predict` (key, size, type) -> protocol.decode -> Gate.reserve -> Batcher (queue) -> Engine (model, in the worker
thread) -> protocol.encode -> Gate.settle. What every such endpoint does is in `lode/app/metered.py`.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from lode.app.answering import JSON, Describe, Desk, Reply, until_gone
from lode.app.batching import Batcher
from lode.app.books import predictions
from lode.app.contracts import Caller, Cells, Endpoint, Gate, Protocol, RequestError, Servable
from lode.app.metered import Metered, Order, Tally
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
        # Where decisions have a value, outcomes may be reported later.
        self.keeps_predictions = bool(model.card.get("value"))


class Predict(Metered[Cells]):
    """A route that predicts the rows of a body."""

    def __init__(self, service: Service, endpoint: Endpoint, protocol: Protocol):
        super().__init__(service, endpoint)
        self.service = service
        self.protocol = protocol

    def encode_error(self, failure: RequestError) -> bytes:
        return self.protocol.encode_error(failure)

    def refusal(self) -> RequestError | None:
        return self.service.batcher.refusal()

    async def read(self, body: bytes, caller: Caller) -> Order[Cells]:
        decode = self.protocol.decode
        cells = decode(body) if len(body) < _THREAD_BYTES else await asyncio.to_thread(decode, body)
        return Order(self.service.model.name, {"rows": cells.num_rows}, cells)

    async def work(self, order: Order[Cells], receive: Receive, tally: Tally) -> Reply:
        answer = await self.service.batcher.submit(order.content, lambda: until_gone(receive))
        tally.units = lambda: {"rows": answer.num_rows, "compute_us": answer.compute_us}
        if self.service.keeps_predictions:
            tally.predicted = predictions.kept(answer.columns, answer.num_rows)
        body = self.protocol.encode(order.content, answer)
        self.service.rows.predicted(answer.num_rows, answer.unseen)
        return 200, body, [(b"content-type", JSON)]


class Told(Describe):
    """A route of a protocol that predicts nothing; its errors, too, are in the protocol's form."""

    def __init__(self, service: Service, endpoint: Endpoint, protocol: Protocol):
        super().__init__(service, endpoint)
        self.protocol = protocol

    def encode_error(self, failure: RequestError) -> bytes:
        return self.protocol.encode_error(failure)
