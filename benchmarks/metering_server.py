"""A metered service for `metering_proofs.py`, in a process of its own: `metering_server.py KIND PORT FOLDER`, stopped by a signal.

KIND: `rows`, lode's table service of a sample model; `slow`, the same with a model that takes 5 ms for each request, one after another, and
a queue of 40; `words`, an endpoint that takes and streams as many tokens as its body says.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson
from starlette.applications import Starlette
from starlette.types import Receive

from lode.app.access.credentials import stored_pepper
from lode.app.answering import JSON, Desk, Reply, Stream
from lode.app.books.open import open_books
from lode.app.contracts import Caller, Endpoint
from lode.app.metered import Metered, Order, Tally
from lode.app.metering.gate import BooksGate, GateOptions
from lode.app.metering.opening import clock_us
from lode.app.monitor import Monitor
from lode.app.options import ServeOptions
from lode.app.routes import App, not_routed, own_routes, route
from lode.app.service import create_app, listen, run_app
from lode.testing.protocol import Sample

SERVICE_S = 0.005


class Slow(Sample):
    """Takes its time."""

    def predict(self, frame: Any, *, check: bool = True) -> Any:
        time.sleep(SERVICE_S)
        return super().predict(frame, check=check)


@dataclass
class Named:
    """What `words` serves."""

    name: str = "words"
    version: int | None = 1


class Words(Metered[dict[str, int]]):
    """Body: {"most": tokens to reserve, "used": tokens to make}; streamed, a token in each part."""

    async def read(self, body: bytes, caller: Caller) -> Order[dict[str, int]]:
        asked = orjson.loads(body)
        return Order("words", {"output_tokens": asked["most"]}, asked)

    async def work(self, order: Order[dict[str, int]], receive: Receive, tally: Tally) -> Reply:
        made = [0]
        tally.units = lambda: {"output_tokens": made[0]}

        async def parts() -> AsyncGenerator[bytes, None]:
            for _ in range(order.content["used"]):
                made[0] += 1
                yield b"x"
                await asyncio.sleep(0.001)

        return 200, Stream(parts(), lambda failure: b"broken", lambda: b"end"), [(b"content-type", JSON)]


def words_app(gate: BooksGate) -> Starlette:
    desk = Desk(Named(), gate, Monitor(name="words", version=1, hash="-"), max_body_bytes=1 << 20, body_timeout_s=30.0)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with gate.running():
            yield

    app = App([route(Words(desk, Endpoint("POST", "/words"))), *own_routes(desk)], lifespan, not_routed)
    app.state.service = desk
    return app


def main(kind: str, port: int, folder: Path) -> None:
    options = ServeOptions(port=port, max_batch=1, queue_rows=40) if kind == "slow" else ServeOptions(port=port)
    with listen(options) as listener, open_books(None, folder) as store:
        gate = BooksGate(store, stored_pepper(folder), model=kind, options=GateOptions(), now_us=clock_us)
        app = words_app(gate) if kind == "words" else create_app(Slow() if kind == "slow" else Sample(), options, gate)
        run_app(app, options, listener)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
