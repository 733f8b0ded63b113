"""A service of the sample model, reached without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from lode.app.contracts import Gate, Servable
from lode.app.metering.open_gate import OpenGate
from lode.app.options import ServeOptions
from lode.app.service import create_app
from lode.testing.protocol import Sample

T = TypeVar("T")
Talk = Callable[..., Any]


@pytest.fixture
def talk() -> Talk:
    """`talk(conversation, model=, gate=, options=)` runs `await conversation(client, service)` on a new service."""

    def run(
        conversation: Callable[[httpx.AsyncClient, Any], Awaitable[T]],
        *,
        model: Servable | None = None,
        gate: Gate | None = None,
        options: ServeOptions | None = None,
    ) -> T:
        async def main() -> T:
            app = create_app(model or Sample(), options or ServeOptions(), gate or OpenGate())
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client, app.router.lifespan_context(app):
                return await conversation(client, app.state.service)

        return asyncio.run(main())

    return run
