"""The HTTP service of somebody else's model: what is mounted where. READ FIRST in this folder, then `endpoints.py` and `tries.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from lode.app import describing
from lode.app.answering import Answering
from lode.app.contracts import Endpoint, Gate, Status
from lode.app.options import UpstreamServeOptions
from lode.app.routes import not_routed, own_routes, route
from lode.app.upstream import calls
from lode.app.upstream.desk import UpstreamDesk, UpstreamMonitor
from lode.app.upstream.endpoints import Passed, PassedRows, Told, ToldRows
from lode.app.upstream.lines import Line
from lode.app.upstream.secrets import read_secret
from lode.app.upstream.tries import Tries
from lode.core.errors import ServeError
from lode.core.spec_upstream import address_problem
from lode.pipeline.providers import Provider
from lode.pipeline.upstream import UpstreamModel


def create_upstream_app(model: UpstreamModel, options: UpstreamServeOptions, gate: Gate, folders: Sequence[Path]) -> Starlette:
    """The ASGI application that serves one model of somebody else; `app.state.service` is its `UpstreamDesk`.

    folders: where files of keys are looked up.
    Errors: ServeError for a key that is missing or open to others, and for an address that may not be called.
    """
    lines = [_line(provider, folders) for provider in model.providers]
    monitor = UpstreamMonitor(name=model.name, version=model.version, hash=model.hash)
    desk = UpstreamDesk(model, Tries(lines, model.options["retries"]), options, gate, monitor)
    is_rows = model.providers[0].protocol == "open_inference"
    answering = _of_rows(desk) if is_rows else _of_texts(desk)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with gate.running(), desk.connected():
            yield

    routes = [*map(route, answering), *own_routes(desk)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: not_routed})
    app.state.service = desk
    return app


def _line(provider: Provider, folders: Sequence[Path]) -> Line:
    # An artifact may come from elsewhere: what `lode check` refused is refused here too.
    problem = address_problem(provider.address)
    if problem:
        raise ServeError(f"address: {problem}")
    return Line(provider, read_secret(provider.key, folders))


def _of_texts(desk: UpstreamDesk) -> list[Answering]:
    """OpenAI's endpoints."""
    name = desk.model.name
    paths = describing.openai([name], calls.CHAT, calls.COMPLETIONS, calls.EMBEDDINGS)
    record = {"id": name, "object": "model", "created": desk.created, "owned_by": "lode"}
    return [
        Passed(desk, Endpoint("POST", "/v1/chat/completions"), calls.read_chat, _has_choices),
        Passed(desk, Endpoint("POST", "/v1/completions"), calls.read_completion, _has_choices),
        Passed(desk, Endpoint("POST", "/v1/embeddings"), calls.read_embeddings, _has_data),
        Told(desk, Endpoint("GET", "/v1/models", _always({"object": "list", "data": [record]}))),
        Told(desk, Endpoint("GET", f"/v1/models/{name}", _always(record))),
        Told(desk, describing.endpoint(name, desk.model.version, paths)),
    ]


def _of_rows(desk: UpstreamDesk) -> list[Answering]:
    """Those of the Open Inference Protocol v2, without a version in the path too."""
    model = desk.model
    name, version = quote(model.name, safe=""), str(model.version or "")
    about = {"name": model.name, "versions": [version], "platform": "upstream", "inputs": [], "outputs": []}
    server = {"name": "lode", "version": "2", "extensions": []}
    paths = [f"/v2/models/{name}", *([f"/v2/models/{name}/versions/{version}"] if version else [])]
    found: list[Answering] = [PassedRows(desk, Endpoint("POST", f"{path}/infer"), calls.read_rows, _has_outputs) for path in paths]
    for path in paths:
        found.append(ToldRows(desk, Endpoint("GET", path, _always(about))))
        found.append(ToldRows(desk, Endpoint("GET", f"{path}/ready", _ready, public=True)))
    described = {name: one for path in paths for name, one in describing.inferred(path, (), ()).items()}
    return [
        *found,
        ToldRows(desk, describing.endpoint(model.name, model.version, described)),
        ToldRows(desk, Endpoint("GET", "/v2", _always(server))),
        ToldRows(desk, Endpoint("GET", "/v2/health/live", lambda status: (200, {"live": True}), public=True)),
        ToldRows(desk, Endpoint("GET", "/v2/health/ready", _ready, public=True)),
    ]


def _ready(status: Status) -> tuple[int, Any]:
    return (200 if status.ready else 503), {"ready": status.ready}


def _always(record: Any) -> Callable[[Status], tuple[int, Any]]:
    return lambda status: (200, record)


def _has_choices(found: dict[str, Any]) -> bool:
    return isinstance(found.get("choices"), list)


def _has_data(found: dict[str, Any]) -> bool:
    return isinstance(found.get("data"), list)


def _has_outputs(found: dict[str, Any]) -> bool:
    return isinstance(found.get("outputs"), list)
