"""Who sends a request to the admin side: a person with a session, or a machine with a key or a token of the identity provider."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lode.app.access import credentials, identities, members, sessions
from lode.app.access.directory import Directory
from lode.app.access.roles import Principal
from lode.app.access.sessions import SignedIn
from lode.app.books.contracts import Store
from lode.app.contracts import RequestError

if TYPE_CHECKING:
    # Needs the packages of the extra `access`; keys and sessions do not.
    from lode.app.access.oidc import Oidc

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_LONGEST_HEADER = 16_384


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Makes a Principal of a request's headers (names in small letters).

    directory: gives the latest snapshot. secure: whether cookies are for https only. oidc: for tokens of machines.
    Errors of its methods: RequestError 401 for whoever is not known, 403 for a session without its word against cross-site requests.
    """

    store: Store
    directory: Callable[[], Directory]
    pepper: bytes
    now_us: Callable[[], int]
    secure: bool = True
    oidc: Oidc | None = None

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; browsers hold the prefix to https, the whole site and no domain."""
        return "__Host-lode_session" if self.secure else "lode_session"

    async def principal(self, method: str, headers: Mapping[bytes, bytes]) -> Principal:
        """Who it is. An Authorization header decides alone; only without one the cookie is looked at."""
        authorization = headers.get(b"authorization")
        if authorization is None:
            return (await self.signed_in(method, headers)).principal
        if len(authorization) > _LONGEST_HEADER:
            raise credentials.refused("wrong_key", "the key is not valid: the header is too long.")
        scheme, _, token = authorization.partition(b" ")
        if self.oidc is not None and scheme.lower() == b"bearer" and token.count(b".") == 2:
            return await self._machine(self.oidc, token.strip())
        digest = credentials.hmac_of(self.pepper, credentials.key_in(authorization))
        directory = self.directory()
        return directory.principal(directory.caller(digest, self.now_us()))

    async def signed_in(self, method: str, headers: Mapping[bytes, bytes]) -> SignedIn:
        """Whose session it is."""
        token = self.token_in(headers)
        if not token:
            raise credentials.refused("no_session", "you are not logged in. Log in at /admin/login, or send a key.")

        def read() -> SignedIn:
            with self.store.view() as session:
                return sessions.signed_in(session, token, self.now_us())

        found = await asyncio.to_thread(read)
        if method not in SAFE_METHODS and not hmac.compare_digest(headers.get(b"x-csrf-token", b"")[:128], found.csrf.encode()):
            raise RequestError(403, "csrf", "the header X-CSRF-Token is missing or wrong. GET /admin/session tells it.")
        return found

    def token_in(self, headers: Mapping[bytes, bytes]) -> str:
        """The session's word of the cookie; "" for none."""
        return sessions.cookie_in(headers.get(b"cookie"), self.cookie)

    async def _machine(self, oidc: Oidc, token: bytes) -> Principal:
        """Nothing is written for a machine: it must be known in the books, or its groups must give it a role."""
        identity = await oidc.machine(token.decode("ascii", "replace"))

        def read() -> Principal:
            with self.store.view() as session:
                user = members.user_of(session, issuer=identity.issuer, subject=identity.subject)
            if user is not None and user.body["status"] == "active":
                return identities.principal_of(user, identity.roles, identity.operator)
            if user is None and (identity.roles or identity.operator):
                name = credentials.digest_hex(f"{identity.issuer}|{identity.subject}")[:16]
                return Principal(f"machine:{name}", dict(identity.roles), identity.operator)
            raise RequestError(403, "not_invited", "nobody gave you a role here. Ask the operator of this service.")

        return await asyncio.to_thread(read)
