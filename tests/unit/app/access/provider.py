"""A small identity provider on a port of its own: real HTTP, real signatures, and every mistake that a test asks for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import orjson
import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "lode-console", "s3cret: with/odd%signs"
AUDIENCE = "lode-api"


class Provider:
    """claims: changes to what the token says; None removes a claim. sign: makes the token of its claims, where set.

    now_s: its clock. keys_read: how often its keys were asked for. away: nothing answers but 500. secret: of its client. seen: what only
    the two sides may know, by what it is.
    """

    def __init__(self) -> None:
        self.issuer = ""
        self._first = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        names = ("authorize", "token", "keys", "end")
        routes = [Route(f"/{name}", getattr(self, name), methods=["GET", "POST"]) for name in names]
        self.app = Starlette(routes=[*routes, Route("/.well-known/openid-configuration", self.metadata)])
        self.new_day(lambda: 0)

    def new_day(self, now_s: Callable[[], int]) -> None:
        """Everything as it should be again."""
        self.now_s = now_s
        self.key = self._first
        self.published: list[dict[str, Any]] = [self.key.as_dict(private=False)]
        self.claims: dict[str, Any] = {}
        self.metadata_changes: dict[str, Any] = {}
        self.answer_changes: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] | None = None
        self.keys_read = 0
        self.exchanges = 0
        self.ended: list[dict[str, str]] = []
        self.away = False
        self.secret = SECRET
        self.seen: list[tuple[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}

    async def metadata(self, request: Request) -> Response:
        if self.away:
            return Response(status_code=500)
        places = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "keys",
            "end_session_endpoint": "end",
        }
        found = {"issuer": self.issuer, **{word: f"{self.issuer}/{place}" for word, place in places.items()}}
        return JSONResponse({**found, **self.metadata_changes})

    async def authorize(self, request: Request) -> Response:
        """Everybody is somebody here: straight back with a code."""
        asked = dict(request.query_params)
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256" and asked["client_id"] == CLIENT
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        self.seen += [("code", code), ("nonce", asked["nonce"])]
        answer = {"code": code, "state": asked["state"], **self.answer_changes}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({k: v for k, v in answer.items() if v is not None})}")

    async def token(self, request: Request) -> Response:
        self.exchanges += 1
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self._codes.pop(form.get("code", ""), None)
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        client, _, secret = basic.partition(":")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (unquote(client), unquote(secret)) != (CLIENT, self.secret):
            return JSONResponse({"error": "invalid_client"}, 401)
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = (self.sign or self.signed)(self.person(aud=CLIENT, nonce=asked["nonce"]))
        self.seen += [("verifier", form["code_verifier"]), ("token", token)]
        return JSONResponse({"token_type": "Bearer", "access_token": "at", "id_token": token})

    async def keys(self, request: Request) -> Response:
        self.keys_read += 1
        return Response(status_code=500) if self.away else JSONResponse({"keys": self.published})

    async def end(self, request: Request) -> Response:
        self.ended.append(dict(request.query_params))
        return Response("logged out")

    def person(self, **claims: Any) -> dict[str, Any]:
        """Claims of a token."""
        now = self.now_s()
        found = {
            "iss": self.issuer, "sub": "jo-1", "iat": now, "exp": now + 300, "email": "jo@acme.example", "email_verified": True,
            "name": "Jo", **claims, **self.claims,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value is not None}

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """As it should be."""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, **header}, claims, self.key)

    def unsigned(self, claims: dict[str, Any]) -> str:
        """With `alg: none`."""
        return f"{_part({'alg': 'none', 'kid': 'one'})}.{_part(claims)}."

    def confused(self, claims: dict[str, Any]) -> str:
        """HS256, with the public key's PEM as the shared secret."""
        text = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(claims)}"
        seal = hmac.digest(self.key.as_pem(private=False), text.encode(), "sha256")
        return f"{text}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"

    def forged(self, claims: dict[str, Any]) -> str:
        """By somebody else's key under our key's name."""
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSAKey.generate_key(2048))

    def rotate(self, name: str) -> None:
        """A new key; the old one is gone."""
        self.key = RSAKey.generate_key(2048, {"kid": name})
        self.published = [self.key.as_dict(private=False)]


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


@contextmanager
def running(provider: Provider, tls: Path | None = None) -> Iterator[Provider]:
    """The provider, answering on a free port of this machine. tls: folder with server.pem and server.key, of localhost."""
    files = {} if tls is None else {"ssl_certfile": str(tls / "server.pem"), "ssl_keyfile": str(tls / "server.key")}
    server = uvicorn.Server(
        uvicorn.Config(provider.app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off", **files)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        place = "http://127.0.0.1" if tls is None else "https://localhost"
        provider.issuer = f"{place}:{server.servers[0].sockets[0].getsockname()[1]}"
        yield provider
    finally:
        server.should_exit = True
        thread.join()
