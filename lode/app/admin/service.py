"""The admin API as a service: routes from the table of operations, each request authenticated, allowed, read, done in a thread.

READ `contracts` FIRST. Order of a request: who is it -> may it (`roles.require`) -> query and body -> the books. Nothing of the books is
read for somebody who may not; the one broad catch is that of `lode/app/answering.py`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lode.app.access import roles
from lode.app.access.authentication import Authenticator
from lode.app.access.options import Access
from lode.app.access.setup import set_up
from lode.app.admin import bodies, commerce, customers, downloads, reports
from lode.app.admin.contracts import BASE, ORGANISATION, Body, Call, File, Operation, Platform
from lode.app.admin.desk import Latest, Work
from lode.app.admin.downloads import sent
from lode.app.admin.openapi import document
from lode.app.admin.pages import page_of
from lode.app.answering import JSON, Answering, Describe, Desk, Reply, body_of
from lode.app.contracts import Endpoint, RequestError
from lode.app.metering.open_gate import OpenGate
from lode.app.monitor import Monitor
from lode.app.routes import not_routed, route
from lode.core.errors import BooksError, BusyError, ConflictError, LodeError, NotFoundError

OPERATIONS: tuple[Operation, ...] = (*customers.OPERATIONS, *commerce.OPERATIONS, *reports.OPERATIONS, *downloads.OPERATIONS)
DESCRIPTION = "/admin/openapi.json"
API_VERSION = "1"
_SLOW, _MOST_SLOW = 2, 8
"""Exports and reports that are made at a time, and that are made or wait."""
_HIDDEN = re.compile(rb"%(2[eEfF]|5[cC]|25)")
"""Dots, slashes and percent signs in disguise: a proxy that guards some paths must not see another path than we do."""
_HEADERS = (
    (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"), (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip
_NOTHING = "there is nothing here."
_NOWHERE = Response(orjson.dumps({"error": {"type": "not_found", "message": _NOTHING}}), 404, media_type=JSON.decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminOptions:
    """How the service runs.

    max_body_bytes: of one request. body_timeout_s: within which it must have arrived. threads: calls of the books at once. waiting: calls
    under way or waiting; beyond, requests get 429. grace_s: seconds that open requests get when the server is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8001
    max_body_bytes: int = 262144
    body_timeout_s: float = 10.0
    threads: int = 4
    waiting: int = 64
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Named:
    """What the desk says of itself."""

    name: str = "admin"
    version: int | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every operation is answered with. slow: for what takes long, so that the rest need not wait for it."""

    platform: Platform
    desk: Desk
    latest: Latest
    work: Work
    slow: Work
    authenticator: Authenticator


def create_admin_app(platform: Platform, access: Access, options: AdminOptions) -> Starlette:
    """The ASGI application; `app.state.service` is its `Desk`.

    Errors: ServeError for a pepper that is not that of the books, MissingPackageError where logins need packages; BooksError.
    """
    latest, work, slow = Latest(platform.store, platform.pepper), Work(options.threads, options.waiting), Work(_SLOW, _MOST_SLOW)
    authenticator, logins = set_up(access, platform.store, lambda: latest.directory, platform.pepper, now_us=platform.now_us)
    desk = Desk(
        _Named(), OpenGate(), Monitor(name="admin", version=None, hash=""), max_body_bytes=options.max_body_bytes,
        body_timeout_s=options.body_timeout_s,
    )  # fmt: skip
    parts = _Parts(platform, desk, latest, work, slow, authenticator)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        work.close()
        slow.close()

    routes = [*_described(desk), *logins, *_operations(parts)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: not_routed}, middleware=[])
    app.router.redirect_slashes = False
    app.add_middleware(_Guarded)
    app.state.service = desk
    return app


def _described(desk: Desk) -> list[Route]:
    """Public: health, and the description, which holds nothing of these books."""
    described = document(OPERATIONS, API_VERSION)
    endpoints = (
        Endpoint("GET", "/health/live", lambda status: (200 if status.live else 503, {"live": status.live}), public=True),
        Endpoint("GET", "/health/ready", lambda status: (200 if status.ready else 503, {"ready": status.ready}), public=True),
        Endpoint("GET", DESCRIPTION, lambda status: (200, described), public=True),
    )
    return [route(Describe(desk, endpoint)) for endpoint in endpoints]


def _operations(parts: _Parts) -> list[Route]:
    """One route for each path, the ones without parameters first: /plans/default is no plan."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in sorted(OPERATIONS, key=lambda item: len(item.parts)):
        paths.setdefault(BASE + operation.path, {})[operation.method] = operation
    return [Route(path, Dispatch(parts, found), methods=list(found)) for path, found in paths.items()]


class Dispatch:
    """One path: the operation of each method."""

    def __init__(self, parts: _Parts, operations: Mapping[str, Operation]):
        self.operations = operations
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await _Request(self._parts, self.operations[method], scope)(scope, receive, send)


class _Request(Answering):
    """One request to an operation."""

    def __init__(self, parts: _Parts, operation: Operation, scope: Scope):
        super().__init__(parts.desk, Endpoint("POST", BASE + operation.path))  # the path of the metric, not of the request
        self._parts = parts
        self._operation = operation
        self._scope = scope

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        try:
            result = await self._answered(headers, receive)
        except LodeError as error:
            raise error if isinstance(error, RequestError) else refused(error) from None
        if isinstance(result, File):
            return sent(result)
        return self._operation.status, orjson.dumps(result, default=str), [(b"content-type", JSON)]

    async def _answered(self, headers: Mapping[bytes, bytes], receive: Receive) -> dict[str, Any] | File:
        operation, parts = self._operation, self._parts
        if parts.desk.draining:
            raise RequestError(503, "stopping", "the server is stopping.", headers=[(b"retry-after", b"1")])
        if parts.latest.is_old:
            await parts.work.run(parts.latest.look)
        with parts.work.slot():
            principal = await parts.authenticator.principal(self._scope["method"], headers)
        path: dict[str, str] = self._scope["path_params"]
        if not all(bodies.is_plain(value) for value in path.values()):
            raise RequestError(404, "not_found", _NOTHING)
        roles.require(principal, operation.action, path.get(ORGANISATION, ""))
        await self._exists(path.get(ORGANISATION))
        query = bodies.query(self._scope["query_string"], operation.queries)
        page = page_of(query, (operation.name, sorted(path.items())), parts.platform.pepper)
        body = await self._body(headers, receive)
        call = Call(parts.platform, principal, path, query, body, page)
        work = parts.slow if operation.slow else parts.work
        # However many keys a customer makes, it is one caller.
        who = principal.actor if principal.operator else path.get(ORGANISATION, principal.actor)
        return await work.run(lambda: self._done(call), who)

    async def _exists(self, organisation: str | None) -> None:
        """Errors: RequestError 404 for an organisation that there is not; another process may have made it in this second."""
        parts = self._parts
        if organisation is None or organisation in parts.latest.directory.organisations:
            return
        await parts.work.run(parts.latest.look)
        if organisation not in parts.latest.directory.organisations:
            raise RequestError(404, "not_found", _NOTHING)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> Body | None:
        kind = self._operation.body
        return None if kind is None else bodies.read(await body_of(self._parts.desk, headers, receive), kind)

    def _done(self, call: Call) -> dict[str, Any] | File:
        """In a thread. Who acts next is judged by what was changed here."""
        result = self._operation.run(call)
        if self._operation.method != "GET":
            self._parts.latest.look()
        return result


def refused(error: LodeError) -> RequestError:
    """An error of the books or of what was asked, in HTTP's words."""
    if isinstance(error, BooksError) and error.retry_s is not None:
        return _later("books_unavailable", "the books cannot be used now. Nothing was changed; try again.", error.retry_s)
    if isinstance(error, BusyError):
        return _later("busy", "somebody else is at work there. Try again.", 5)
    if isinstance(error, BooksError):
        return _later("books_unavailable", "the books cannot be used. Ask the operator of this service.", 60)
    if isinstance(error, NotFoundError):
        return RequestError(404, "not_found", str(error))
    if isinstance(error, ConflictError):
        return RequestError(409, "conflict", str(error))
    return RequestError(422, "invalid_request", str(error))


def _later(word: str, text: str, wait_s: int) -> RequestError:
    return RequestError(503, word, text, headers=[(b"retry-after", b"%d" % wait_s)])


class _Guarded:
    """Headers that every answer has, whoever makes it; nothing is found under a path in disguise."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": with_guards(message.get("headers", ()))}
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _HIDDEN.search(scope.get("raw_path") or b""):
            await _NOWHERE(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


def with_guards(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, and those that every answer has."""
    known = {name.lower() for name, _ in headers}
    return [*headers, *(pair for pair in _HEADERS if pair[0] not in known)]
