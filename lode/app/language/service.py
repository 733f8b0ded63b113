"""The HTTP service of one language model: what is mounted where. READ FIRST in this folder, then `endpoints.py` and `runner.py`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lode.app import describing
from lode.app.answering import Answering
from lode.app.contracts import Endpoint, Gate, RequestError
from lode.app.language.answers import error_record
from lode.app.language.chat import CHAT_KEYS
from lode.app.language.completions import COMPLETION_KEYS, EMBEDDING_KEYS
from lode.app.language.contracts import Speaks
from lode.app.language.desk import LanguageDesk
from lode.app.language.endpoints import Chat, Complete, Embed, Told, model_endpoints
from lode.app.language.monitor import TokenMonitor
from lode.app.options import LanguageServeOptions
from lode.app.routes import App, own_routes, route
from lode.core.errors import ServeError, near_miss

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def create_language_app(model: Speaks, options: LanguageServeOptions, gate: Gate) -> Starlette:
    """The ASGI application that serves one language model; `app.state.service` is its `LanguageDesk`.

    Errors: ServeError for a name of an adapter; those of `model.engine` (memory, adapters of another base, weights that cost too much).
    """
    _check_names(model.name, options)
    engine = model.engine(
        memory_bytes=options.cache,
        max_sequences=options.max_sequences,
        # Everything waits for its first step, also where there is room; what may wait in all, the runner says.
        max_waiting=options.max_sequences + options.max_waiting,
        device=options.device,
        weights=options.weights,
        adapters={name: Path(folder) for name, folder in (options.adapters or {}).items()},
        max_rise=options.max_rise,
    )
    monitor = TokenMonitor(name=model.name, version=model.version, hash=model.hash)
    desk = LanguageDesk(model, engine, options, gate, monitor)
    monitor.step(None, engine.facts())
    posted: list[Answering] = [
        Chat(desk, Endpoint("POST", "/v1/chat/completions")),
        Complete(desk, Endpoint("POST", "/v1/completions")),
        Embed(desk, Endpoint("POST", "/v1/embeddings")),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        desk.runner.start(asyncio.get_running_loop())
        async with gate.running():
            yield
        desk.runner.close()

    described = describing.openai(desk.preparer.names, CHAT_KEYS, COMPLETION_KEYS, EMBEDDING_KEYS)
    told = [*model_endpoints(desk), Told(desk, describing.endpoint(model.name, model.version, described))]
    routes = [*map(route, posted), *map(route, told), *own_routes(desk)]
    app = App(routes, lifespan, _not_routed)
    app.state.service = desk
    return app


def _check_names(base: str, options: LanguageServeOptions) -> None:
    for name in options.adapters or {}:
        if name == base:
            raise ServeError(
                f'serve.adapters: found "{name}", which is the name of the model itself. Give the adapter another name.'
            )
        if not _NAME.fullmatch(name):
            raise ServeError(f'serve.adapters: found "{name}", allowed: letters, digits, ".", "_" and "-". Give it another name.')


async def _not_routed(request: Request, error: Exception) -> Response:
    """404 and 405 in OpenAI's form, with the near miss."""
    assert isinstance(error, HTTPException)
    paths = [route.path for route in request.app.routes]
    hint = near_miss(request.url.path[:200], paths) if error.status_code == 404 else ""
    word = "not_found" if error.status_code == 404 else "bad_method"
    failure = RequestError(
        error.status_code, word, f"{request.method} {request.url.path[:200]}: {str(error.detail).lower()}.{hint}"
    )
    return Response(orjson.dumps(error_record(failure)), failure.status, headers=error.headers, media_type="application/json")
