"""Routes that every service has, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lode.app.answering import Answering, Describe, Desk
from lode.app.contracts import OPERATOR, Endpoint
from lode.core.errors import near_miss

NotRouted = Callable[[Request, Exception], Awaitable[Response]]

_OWN = (
    Endpoint("GET", "/health/live", lambda status: (200 if status.live else 503, {"live": status.live}), public=True),
    Endpoint("GET", "/health/ready", lambda status: (200 if status.ready else 503, {"ready": status.ready}), public=True),
    Endpoint("GET", "/metrics", scope=OPERATOR),
)


def own_routes(desk: Desk) -> list[Route]:
    """Health and metrics."""
    return [route(Describe(desk, endpoint)) for endpoint in _OWN]


class App(Starlette):
    """Starlette, but endpoints of ours are found in one step: none of their paths has a parameter, none raises."""

    def __init__(self, routes: Sequence[Route], lifespan: Callable[[Any], Any], not_routed: NotRouted):
        super().__init__(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: not_routed})
        self._direct: dict[tuple[str, str], Answering] = {}
        for item in routes:
            if isinstance(item.app, Answering):
                self._direct.setdefault((item.app.endpoint.method, item.path), item.app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._direct.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (super().__call__ if found is None else found)(scope, receive, send)


def route(application: Answering) -> Route:
    """Where an endpoint is reached."""
    return Route(application.endpoint.path, application, methods=[application.endpoint.method])


async def not_routed(request: Request, error: Exception) -> Response:
    """404 and 405 as JSON, with the near miss."""
    assert isinstance(error, HTTPException)
    paths = [route.path for route in request.app.routes]
    hint = near_miss(request.url.path[:200], paths) if error.status_code == 404 else ""
    message = f"{request.method} {request.url.path[:200]}: {str(error.detail).lower()}.{hint}"
    word = "not_found" if error.status_code == 404 else "bad_method"
    body = orjson.dumps({"error": {"type": word, "message": message}})
    return Response(body, error.status_code, headers=error.headers, media_type="application/json")
