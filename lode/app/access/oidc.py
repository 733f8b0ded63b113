"""Login with OpenID Connect: authorization code with PKCE (S256), state, nonce, pinned algorithms. No web server in it.

What is asked and how tokens are made sure of is Authlib's and joserfc's; here stands what must come together. Specifications:
OpenID Connect Core 1.0 (3.1.2, 3.1.3.7), RP-Initiated Logout 1.0, RFC 7636, RFC 9207, RFC 8725.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import extract_compact

from lode.app.access.identities import Identity, granted, text_claim
from lode.app.access.options import OidcOptions, is_safe_address
from lode.app.contracts import RequestError
from lode.core.errors import ServeError

CLOCK_SKEW_S = 60
KEYS_MAX_AGE_S = 3600.0
"""Keys of the provider are read again after an hour."""
KEYS_OLDEST_S = 86_400.0
UNKNOWN_KEY_WAIT_S = 60.0
"""A token with an unknown key makes them be read again, but not more often than this."""
FAILED_WAIT_S = 10.0
"""Where there are no keys at all."""
_MOST_KEYS = 100
_TIMEOUT_S = 10.0
_MOST_BYTES = 1 << 20
_LONGEST_TOKEN = 16_384
_MOST_GROUPS = 1000
_CODE = re.compile(r"[\x21-\x7e]{1,2048}", re.ASCII)
_JOSE_TYPES = ("JWT", "at+jwt", None)


@dataclass(frozen=True, slots=True)
class Pending:
    """A login that has begun. state, nonce, verifier: random words; next: path to show afterwards; until_s: Unix time."""

    state: str
    nonce: str
    verifier: str
    next: str
    until_s: int


@dataclass(frozen=True, slots=True)
class _Provider:
    authorize: str
    token: str
    keys: str
    end: str
    names_itself: bool


class Oidc:
    """One identity provider.

    now_s: Unix time, for tokens. monotonic_s: for the age of the provider's keys.
    Errors of every method: RequestError 401 for tokens and codes that are not accepted, 503 where the provider does not answer.
    """

    def __init__(
        self,
        options: OidcOptions,
        client_secret: str = "",
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
        monotonic_s: Callable[[], float] = time.monotonic,
    ):
        self.options = options
        self._secret = client_secret
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._algorithms = tuple(options.algorithms) or ("RS256",)
        self._tls = ssl.create_default_context(cafile=options.ca_file or None)
        self._provider: _Provider | None = None
        self._keys: KeySet | None = None
        self._keys_read_s = self._keys_tried_s = self._described_s = -math.inf
        self._lock, self._describing = asyncio.Lock(), asyncio.Lock()

    async def try_out(self) -> None:
        """Read the provider's description and keys. Errors: ServeError that says what is wrong."""
        try:
            await self._key_set(None)
        except RequestError as error:
            raise ServeError(f"oidc.issuer: {self.options.issuer}: {error.message}") from None

    async def begin(self, next: str) -> tuple[str, Pending]:
        """Where to send the browser, and what must be remembered until it comes back."""
        provider = await self._metadata()
        pending = Pending(
            secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), next, self._now_s() + 600
        )
        address = prepare_grant_uri(
            provider.authorize, self.options.client_id, "code", self.options.redirect, self.options.scopes, pending.state,
            nonce=pending.nonce, code_challenge=create_s256_code_challenge(pending.verifier), code_challenge_method="S256",
        )  # fmt: skip
        return address, pending

    async def finish(self, answer: Mapping[str, str], pending: Pending) -> Identity:
        """Who came back. answer: the query of /admin/callback; pending: from the browser's signed cookie."""
        provider = await self._metadata()
        self._check_answer(answer, pending, provider)
        found = await self._exchange(provider, answer["code"], pending.verifier)
        token = text_claim(found, "id_token", _LONGEST_TOKEN)
        parsed = await self._decoded(token)
        claims = CodeIDToken(
            parsed.claims,
            parsed.header,
            {
                "iss": {"essential": True, "value": self.options.issuer},
                "sub": {"essential": True},
                "aud": {"essential": True, "value": self.options.client_id},
            },
            {
                "nonce": pending.nonce,
                "client_id": self.options.client_id,
                "access_token": text_claim(found, "access_token", _LONGEST_TOKEN),
            },
        )
        try:
            claims.validate(now=self._now_s(), leeway=CLOCK_SKEW_S)
        except JoseError as error:
            raise _refused(f"the identity provider's token is not accepted: {_why(error)}.") from None
        return self._identity(claims)

    async def end_address(self) -> str:
        """Where a browser ends its session at the provider, too; "" where the provider has no such place, or is away.

        It is told the client only: the token that would name the person is not kept, so it may ask whether to log out.
        """
        with contextlib.suppress(RequestError):
            provider = await self._metadata()
            return add_params_to_uri(provider.end, [("client_id", self.options.client_id)]) if provider.end else ""
        return ""

    async def machine(self, token: str) -> Identity:
        """Who sends a token of the provider as Bearer: for `oidc.audience`, which no token of a login has."""
        if not self.options.audience:
            raise _refused("tokens of the identity provider are not accepted here: oidc.audience is not set.")
        parsed = await self._decoded(token)
        registry = jwt.JWTClaimsRegistry(
            now=self._now_s(),
            leeway=CLOCK_SKEW_S,
            iss={"essential": True, "value": self.options.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": self.options.audience},
            exp={"essential": True},
        )
        try:
            registry.validate(parsed.claims)
        except JoseError as error:
            raise _refused(f"the token is not accepted: {_why(error)}.") from None
        return self._identity(parsed.claims)

    def _check_answer(self, answer: Mapping[str, str], pending: Pending, provider: _Provider) -> None:
        if self._now_s() > pending.until_s:
            raise _refused("the login took longer than ten minutes. Begin again.")
        if not secrets.compare_digest(answer.get("state", "").encode(), pending.state.encode()):
            raise _refused("the answer does not belong to this login. Begin again.")
        issuer = answer.get("iss")
        if issuer != self.options.issuer if provider.names_itself else issuer not in (None, self.options.issuer):
            raise _refused("the answer comes from another identity provider. Begin again.")
        if "error" in answer:
            word = answer["error"] if re.fullmatch(r"[a-z_]{1,40}", answer["error"], re.ASCII) else "error"
            raise _refused(f"the identity provider refused: {word}.")
        if not _CODE.fullmatch(answer.get("code", "")):
            raise _refused("the answer holds no code. Begin again.")

    async def _exchange(self, provider: _Provider, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.options.redirect, "code_verifier": verifier,
        }  # fmt: skip
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        if self._secret:  # RFC 6749, 2.3.1: both are form-encoded first
            headers["authorization"] = aiohttp.encode_basic_auth(quote(self.options.client_id, ""), quote(self._secret, ""))
        else:
            form["client_id"] = self.options.client_id
        status, found = await self._fetch("POST", provider.token, form, headers)
        if status != 200:
            word = text_claim(found, "error", 40)
            raise _refused(
                f"the identity provider refused the code{f': {word}' if re.fullmatch('[a-z_]+', word) else ''}. Begin again."
            )
        return found

    async def _decoded(self, token: str) -> jwt.Token:
        """The token with its signature verified, by one of the pinned algorithms and the provider's keys only."""
        if not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii():
            raise _refused("there is no token, or one that is too long.")
        try:
            header = extract_compact(token.encode()).headers()
            algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
            if algorithm not in self._algorithms or kind not in _JOSE_TYPES or "crit" in header:
                raise _refused("the token is signed in a way that is not accepted here.")
            keys = await self._key_set(kid if isinstance(kid, str) else None)
            return jwt.decode(token, keys, algorithms=list(self._algorithms))
        except (JoseError, ValueError, RecursionError) as error:
            raise _refused(f"the token is not accepted: {_why(error)}.") from None

    async def _key_set(self, kid: str | None) -> KeySet:
        """The provider's keys.

        Those in memory; read again where they are old or `kid` is not among them, but at most once a minute, so that tokens
        with made-up keys cost the provider nothing. Where it is away, old ones are good for a day.
        """
        if self._keys is not None and self._suffices(self._keys, kid):
            return self._keys  # nobody waits for a reading that somebody else's token began
        async with self._lock:
            now_s, keys = self._monotonic_s(), self._keys
            wait_s = FAILED_WAIT_S if keys is None else UNKNOWN_KEY_WAIT_S
            if (keys is None or not self._suffices(keys, kid)) and now_s - self._keys_tried_s > wait_s:
                self._keys_tried_s = now_s
                try:
                    keys = self._keys = await self._read_keys()
                    self._keys_read_s = now_s
                except RequestError:
                    if keys is None:
                        raise
            if keys is None or now_s - self._keys_read_s > KEYS_OLDEST_S:
                raise _away("its keys cannot be read")
            return keys

    def _suffices(self, keys: KeySet, kid: str | None) -> bool:
        is_fresh = self._monotonic_s() - self._keys_read_s <= KEYS_MAX_AGE_S
        return is_fresh and (kid is None or any(key.kid == kid for key in keys))

    async def _read_keys(self) -> KeySet:
        status, found = await self._fetch("GET", (await self._metadata()).keys)
        listed = found.get("keys")
        if status != 200 or not isinstance(listed, list):
            raise _away("its keys cannot be read")
        # Symmetric keys have no business in a public list: with them, a public key could pass for a shared secret.
        usable = [
            key
            for key in listed[:_MOST_KEYS]
            if isinstance(key, dict) and key.get("kty") in ("RSA", "EC") and "d" not in key and key.get("use", "sig") == "sig"
        ]
        keys = []
        for key in usable:
            # One key that is not understood is no reason to refuse the others (RFC 7517, 5).
            with contextlib.suppress(JoseError, ValueError, TypeError, KeyError):
                keys.append(JWKRegistry.import_key(key))
        if not keys:
            raise _away("it has no keys that can be used")
        return KeySet(keys)

    async def _metadata(self) -> _Provider:
        """Where the provider's endpoints are; read once, and while it is away not at every click."""
        async with self._describing:
            if self._provider is None:
                now_s = self._monotonic_s()
                if now_s - self._described_s <= FAILED_WAIT_S:
                    raise _away("it did not answer a moment ago")
                self._described_s = now_s
                self._provider = await self._description()
            return self._provider

    async def _description(self) -> _Provider:
        status, found = await self._fetch("GET", get_well_known_url(self.options.issuer, external=True))
        if status != 200 or found.get("issuer") != self.options.issuer:
            raise _away("its description cannot be read, or names another issuer")
        authorize, token, keys = (
            text_claim(found, word, 2048) for word in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        if not (is_safe_address(authorize) and is_safe_address(token) and is_safe_address(keys)):
            raise _away("its description names an address that is not safe")
        end = text_claim(found, "end_session_endpoint", 2048)
        end = end if is_safe_address(end) else ""
        return _Provider(authorize, token, keys, end, found.get("authorization_response_iss_parameter_supported") is True)

    async def _fetch(
        self, method: str, address: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object; bounded in time and size, no redirects."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=self._tls)) as client,
                client.request(method, address, data=form, headers=headers, allow_redirects=False) as answer,
            ):
                body = bytearray()
                async for part in answer.content.iter_chunked(65_536):
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise _away("its answer is too long")
                found = orjson.loads(body) if answer.content_type.endswith("json") else {}
                return answer.status, found if isinstance(found, dict) else {}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            raise _away("it does not answer") from None

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = text_claim(claims, "sub", 255)
        if not subject:
            raise _refused("the token names nobody.")
        options = self.options
        found = claims.get(options.roles_claim) if options.roles_claim else None
        groups = [group for group in found[:_MOST_GROUPS] if isinstance(group, str)] if isinstance(found, list) else []
        roles, operator = granted(groups, options.roles)
        email = text_claim(claims, "email") if claims.get("email_verified") is True else ""
        return Identity(options.issuer, subject, email, text_claim(claims, "name", 200), roles, operator)


def _why(error: Exception) -> str:
    """What is wrong, in a word or two; never the value, which came from outside."""
    claim = getattr(error, "claim", "")
    return f"{getattr(error, 'error', 'malformed')}{f' {claim}' if claim else ''}"


def _refused(message: str) -> RequestError:
    return RequestError(401, "login_refused", message)


def _away(message: str) -> RequestError:
    return RequestError(
        503, "identity_provider", f"the identity provider cannot be used: {message}. Try again.", headers=((b"retry-after", b"10"),)
    )
