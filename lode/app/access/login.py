"""The routes of login: /admin/login, /admin/callback, /admin/logout, /admin/session. Starlette endpoints; `routes` mounts them.

Answers are JSON, but for the two redirects of OpenID Connect. Every login gets a new session; the older one of the same browser ends.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lode.app.access import ldap, sessions
from lode.app.access.authentication import Authenticator
from lode.app.access.checks import shown_time
from lode.app.access.identities import Identity
from lode.app.access.oidc import Oidc, Pending
from lode.app.access.options import Access
from lode.app.contracts import RequestError
from lode.core.errors import BooksError

_NEXT = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}", re.ASCII)
_HOME = "/admin"
_CALLBACK = "/admin/callback"
_LONGEST_BODY, _BODY_S = 4096, 10
_FAILURES, _FAILURES_S, _MOST_NAMES = 5, 300, 1000
_AT_ONCE, _MOST_WAITING = 8, 64
"""Logins that talk to the other server at the same time, and that do or wait for it."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Login:
    """What the routes share. access: the file's options; directory: the LDAP server where there is one."""

    def __init__(self, access: Access, authenticator: Authenticator, directory: ldap.PersonDirectory | None = None):
        self._access = access
        self._gate = authenticator
        self._oidc: Oidc | None = authenticator.oidc
        self._ldap = directory
        self._failures = Failures(authenticator.now_us)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        return [
            Route("/admin/login", _told(self.begin), methods=["GET"]),
            Route("/admin/login", _told(self.password), methods=["POST"]),
            Route(_CALLBACK, _told(self.callback), methods=["GET"]),
            Route("/admin/logout", _told(self.logout), methods=["POST"]),
            Route("/admin/session", _told(self.session), methods=["GET"]),
        ]

    async def begin(self, request: Request) -> Response:
        """GET /admin/login?next=PATH: off to the identity provider."""
        if self._oidc is None:
            how = "POST your name and password here as JSON" if self._ldap else "logging in is not configured: see access.toml"
            raise RequestError(404, "no_oidc", f"there is no identity provider; {how}.")
        next = request.query_params.get("next", _HOME)
        address, pending = await self._oidc.begin(next if _NEXT.fullmatch(next) else _HOME)
        value = sessions.sealed(pending, self._gate.pepper)
        return _moved(address, self._cookie(self._pending_cookie, value, 600))

    async def callback(self, request: Request) -> Response:
        """GET /admin/callback?code=...&state=...: back from the identity provider."""
        if self._oidc is None:
            raise RequestError(404, "no_oidc", "there is no identity provider.")
        headers = _headers(request)
        written = sessions.unsealed(sessions.cookie_in(headers.get(b"cookie"), self._pending_cookie), self._gate.pepper)
        if written is None:
            raise RequestError(401, "login_refused", "this browser began no login, or too long ago. Begin at /admin/login.")
        pending = Pending(**written)
        async with self._slot():
            identity = await self._oidc.finish(_query(request), pending)
        token = await self._opened(identity, headers, f"login/{pending.state}")
        gone = self._cookie(self._pending_cookie, "", 0)
        return _moved(pending.next, self._session_cookie(token), gone)

    async def password(self, request: Request) -> Response:
        """POST /admin/login {"name", "password"}: by the LDAP server. JSON only, which another site's form cannot send."""
        server, options = self._ldap, self._access.ldap
        if server is None or options is None:
            raise RequestError(404, "no_ldap", "there is no LDAP server. GET /admin/login leads to the identity provider.")
        name, password = await _credentials(request)
        async with self._slot():
            # Counted before it is known, so that a hundred guesses at once are five too.
            self._failures.add(name)
            try:
                person = await asyncio.to_thread(server.authenticate, name, password)
            except RequestError:
                self._failures.forgive(name)
                raise
            if person is None:
                raise RequestError(401, "login_refused", "name or password is wrong.")
            self._failures.forgive(name)
            identity = await asyncio.to_thread(ldap.identity_of, server, options, person)
        token = await self._opened(identity, _headers(request), "")
        return _json(200, {"logged_in": True, "csrf": sessions.csrf_of(token)}, self._session_cookie(token))

    async def logout(self, request: Request) -> Response:
        """POST /admin/logout, with X-CSRF-Token. Ours ends here and now; the provider's own where the browser goes to `provider`."""
        headers = _headers(request)
        await self._gate.signed_in("POST", headers)
        token, store = self._gate.token_in(headers), self._gate.store
        issuer = await asyncio.to_thread(lambda: sessions.close_session(store, token, now_us=self._gate.now_us))
        oidc = self._oidc
        address = await oidc.end_address() if oidc is not None and issuer == oidc.options.issuer else ""
        return _json(200, {"logged_in": False, "provider": address or None}, self._cookie(self._gate.cookie, "", 0))

    async def session(self, request: Request) -> Response:
        """GET /admin/session: who is logged in, and the word for X-CSRF-Token."""
        found = await self._gate.signed_in("GET", _headers(request))
        who = found.principal
        body = {"actor": who.actor, "name": found.name, "email": found.email, "roles": dict(who.roles), "operator": who.operator}
        return _json(200, {**body, "csrf": found.csrf, "until": shown_time(found.until_us)})

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the logins under way. Errors: RequestError 429 where too many wait."""
        if self._waiting >= _MOST_WAITING:
            raise RequestError(
                429, "queue_full", "too many logins are under way. Try again in 5 s.", headers=[(b"retry-after", b"5")]
            )
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1

    @property
    def _pending_cookie(self) -> str:
        return "__Host-lode_login" if self._gate.secure else "lode_login"

    async def _opened(self, identity: Identity, headers: Mapping[bytes, bytes], reference: str) -> str:
        gate, hours, replaces = self._gate, self._access.session.hours, self._gate.token_in(headers)
        return await asyncio.to_thread(
            lambda: sessions.open_session(
                gate.store, identity, reference=reference, replaces=replaces, hours=hours, now_us=gate.now_us
            )
        )

    def _session_cookie(self, token: str) -> tuple[bytes, bytes]:
        return self._cookie(self._gate.cookie, token, int(self._access.session.hours * 3600))

    def _cookie(self, name: str, value: str, max_age_s: int) -> tuple[bytes, bytes]:
        return sessions.set_cookie(name, value, secure=self._gate.secure, max_age_s=max_age_s)


class Failures:
    """Wrong passwords by name: five in five minutes, then that name waits.

    Bounded without forgetting anybody: with a thousand names at once, names that come new wait, too. So somebody who tries many names
    neither wins back the five guesses of one, nor gets more than five thousand in five minutes.
    """

    def __init__(self, now_us: Callable[[], int]):
        self._now_us = now_us
        self._times: OrderedDict[str, list[int]] = OrderedDict()

    def add(self, name: str) -> None:
        """One more try. Errors: RequestError 429."""
        recent, key = self._recent(name), _same(name)
        oldest = next(iter(self._times), key)
        if oldest != key and not self._recent(oldest):
            del self._times[oldest]
        is_full = key not in self._times and len(self._times) >= _MOST_NAMES
        if is_full or len(recent) >= _FAILURES:
            since = self._times[oldest][-1] if is_full else recent[0]
            wait_s = max(1, _FAILURES_S - (self._now_us() - since) // 1_000_000)
            headers = ((b"retry-after", b"%d" % wait_s),)
            raise RequestError(429, "too_many_logins", f"too many wrong passwords. Try again in {wait_s} s.", headers=headers)
        self._times[key] = [*recent, self._now_us()]
        self._times.move_to_end(key)

    def forgive(self, name: str) -> None:
        """The last try was none, or the right one."""
        left = self._recent(name)[:-1]
        if left:
            self._times[_same(name)] = left
        else:
            self._times.pop(_same(name), None)

    def _recent(self, name: str) -> list[int]:
        since = self._now_us() - _FAILURES_S * 1_000_000
        return [at for at in self._times.get(_same(name), ()) if at > since]


def _same(name: str) -> str:
    """What a directory may take for the same name: it cares for neither size of letters nor spaces nor what is invisible (RFC 4518)."""
    letters = unicodedata.normalize("NFKC", name[:1024]).casefold()
    return "".join(letter for letter in letters if unicodedata.category(letter)[0] not in "ZCM")[:256]


def _told(endpoint: Endpoint) -> Endpoint:
    """The endpoint, its refusals as JSON; nothing of it may be kept by a cache."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RequestError as failure:
            return _json(failure.status, {"error": {"type": failure.type, "message": failure.message}}, *failure.headers)
        except BooksError as failure:
            body = {"error": {"type": "books", "message": "the books cannot be written now. Try again."}}
            return _json(503, body, (b"retry-after", b"%d" % (failure.retry_s or 60)))

    return answer


def _headers(request: Request) -> dict[bytes, bytes]:
    return dict(request.scope["headers"])


def _query(request: Request) -> dict[str, str]:
    """The answer's words; one that comes twice counts as absent, because nobody could say which is meant."""
    found = request.query_params
    return {key: found[key] for key in ("code", "state", "iss", "error") if len(found.getlist(key)) == 1}


async def _credentials(request: Request) -> tuple[str, str]:
    wrong = RequestError(400, "invalid_request", 'the body is wrong. Send {"name": "...", "password": "..."} as application/json.')
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise wrong
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > _LONGEST_BODY:
                    raise wrong
    except TimeoutError:
        raise RequestError(408, "slow_request", f"the body did not arrive within {_BODY_S} s.") from None
    except ClientDisconnect:
        raise RequestError(499, "client_gone", "the client hung up before its request was complete.") from None
    try:
        found = orjson.loads(body)
    except ValueError:
        raise wrong from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("name", "password")):
        raise wrong
    return found["name"], found["password"]


def _json(status: int, body: Any, *headers: tuple[bytes, bytes]) -> Response:
    return _with(Response(orjson.dumps(body), status, media_type="application/json"), *headers)


def _moved(address: str, *headers: tuple[bytes, bytes]) -> Response:
    return _with(Response(b"", 303, {"location": address}), *headers)


def _with(response: Response, *headers: tuple[bytes, bytes]) -> Response:
    response.raw_headers += [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"), *headers]
    return response
