"""Books with two customers, the operator's own organisation, and somebody with each role in each; an admin API on them without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lode.app.access import keys, sessions
from lode.app.access.identities import Identity
from lode.app.access.options import Access
from lode.app.access.roles import PLATFORM, TENANT, Principal, scopes_of
from lode.app.admin.contracts import Platform
from lode.app.admin.service import AdminOptions, create_admin_app
from lode.app.books.contracts import Store
from lode.app.invoices import seller
from tests.unit.app.access.world import World

BASE = "/admin/v1"
SELLER = """name = "Model Works GmbH"
address = ["Gartenweg 1", "10115 Berlin"]
country = "DE"
tax_id = "DE136695976"
"""
PLAN: dict[str, Any] = {
    "name": "team", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "rows", "type": "standard", "unit": "rows", "price": "0.002"}],
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Credential:
    """Headers, and who that is for `roles.py`; None for nobody."""

    name: str
    headers: tuple[tuple[bytes, bytes], ...]
    principal: Principal | None


class AdminWorld(World):
    """World, with an app."""

    def __init__(self, folder: Path, store: Store | None = None):
        super().__init__(folder, store)
        (folder / "seller.toml").write_text(SELLER)
        for slug in ("acme", "globex"):
            self.customer(slug)
        self.customer("own", kind="own")

    def app(self, access: Access | None = None, **options: Any) -> Any:
        platform = Platform(
            self.store, None, self.folder, self.pepper, self.now_us, lambda: seller.read(self.folder / "seller.toml")
        )
        return create_admin_app(platform, access or Access(), AdminOptions(**options))

    def operator(self) -> str:
        """A key that may everything."""
        account = self.account("root", "operator", "own")
        return str(self.key("own", account=account, scopes=["platform"])["key"])

    def credentials(self, role: str, organisation: str = "acme") -> list[Credential]:
        """Everything that somebody with this role could show."""
        home = "own" if role in PLATFORM else organisation
        account = self.account(f"{role} of {home}", role, home)
        scopes = scopes_of(role)
        full = self.key(home, account=account, scopes=list(scopes))
        narrow = self.key(home, account=account, scopes=[scopes[0]]) if scopes else full
        expired = self.key(home, account=account, scopes=list(scopes), expires="1s")
        self.time_us += 2_000_000
        revoked = self.key(home, account=account, scopes=list(scopes))
        keys.revoke(self.store, "cli", home, revoked["id"], now_us=self.now_us)
        rights = {"operator": role} if role in PLATFORM else {"roles": {home: role}}
        made = [
            Credential("none", (), None),
            Credential("expired", (_bearer(expired["key"]),), None),
            Credential("revoked", (_bearer(revoked["key"]),), None),
            Credential("key", (_bearer(full["key"]),), Principal("key", scopes=frozenset(scopes), **rights)),
            Credential("narrow", (_bearer(narrow["key"]),), Principal("key", scopes=frozenset(scopes[:1]), **rights)),
        ]
        return [*made, Credential("session", self.session(role, home), Principal("user", **rights))]

    def session(self, role: str, organisation: str) -> tuple[tuple[bytes, bytes], ...]:
        """Cookie and word against cross-site requests."""
        email = f"{role}@{organisation}.org"
        rights = {"operator": role} if role in PLATFORM else {"role": role, "organisation": organisation}
        self.user(email=email, **rights)
        identity = Identity("https://idp", f"{role}|{organisation}", email)
        token = sessions.open_session(self.store, identity, reference="", replaces="", hours=24, now_us=self.now_us)
        return (b"cookie", f"__Host-lode_session={token}".encode()), (b"x-csrf-token", sessions.csrf_of(token).encode())

    def head(self) -> tuple[Any, ...]:
        """The journal's last entry."""
        with self.store.view() as session:
            return session.rows("SELECT sequence, hash FROM head")[0]


ROLES = (*TENANT, *PLATFORM)


def _bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {key}".encode()


async def ask(app: Any, method: str, path: str, headers: Any = (), body: bytes = b"", query: str = "") -> Answer:
    """One request, straight into the application. headers: pairs, or a key."""
    if isinstance(headers, str):
        headers = (_bearer(headers),)
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers], "scheme": "https", "root_path": "",
        "server": ("test", 443), "client": ("test", 1),
    }  # fmt: skip
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]))


async def post(app: Any, path: str, key: Any, record: Any, method: str = "POST") -> Any:
    """The answer's JSON; fails where it is not good."""
    answer = await ask(app, method, BASE + path, key, orjson.dumps(record))
    assert answer.status in (200, 201), answer.body
    return answer.json


async def get(app: Any, path: str, key: Any, query: str = "") -> Any:
    answer = await ask(app, "GET", BASE + path, key, query=query)
    assert answer.status == 200, answer.body
    return answer.json
