"""The service of the model without weights, reached without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from lode.app.contracts import Gate
from lode.app.language.service import create_language_app
from lode.app.metering.open_gate import OpenGate
from lode.app.options import LanguageServeOptions
from tests.unit.app.language.fakes import FakeModel

T = TypeVar("T")


@pytest.fixture
def talk() -> Callable[..., Any]:
    """`talk(conversation, model=, gate=, options=)` runs `await conversation(client, desk)` on a new service."""

    def run(
        conversation: Callable[[httpx.AsyncClient, Any], Awaitable[T]],
        *,
        model: FakeModel | None = None,
        gate: Gate | None = None,
        options: LanguageServeOptions | None = None,
    ) -> T:
        async def main() -> T:
            app = create_language_app(model or FakeModel(), options or LanguageServeOptions(), gate or OpenGate())
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client, app.router.lifespan_context(app):
                return await conversation(client, app.state.service)

        return asyncio.run(main())

    return run
