"""T9: secrets and prompts sent through the servers in every way that a client or an operator has, and searched for in all that they leave.

Not covered: the memory of the process (core dumps), and answers that repeat what they were asked, kept for an `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
from starlette.applications import Starlette

from lode.app.access import keys
from lode.app.access.authentication import Authenticator
from lode.app.access.ldap import Ldap
from lode.app.access.login import Login
from lode.app.access.options import Access, LdapOptions
from lode.app.audit.entries import Wanted, entries
from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.language.service import create_language_app
from lode.app.metering.gate import BooksGate, GateOptions
from lode.app.options import LanguageServeOptions, ServeOptions
from lode.app.service import create_app
from lode.app.targets.open import open_target
from lode.data.storage.keys import new_key
from lode.testing.protocol import Sample
from tests.flows.ldap_server import certificates
from tests.unit.app.access.test_access_hostile import Slow
from tests.unit.app.admin.world import BASE, AdminWorld, ask
from tests.unit.app.canaries_elsewhere import NAME, Elsewhere, elsewhere
from tests.unit.app.language.fakes import FakeModel

PREDICT, CHAT = "/v1/models/sample:predict", "/v1/chat/completions"


class Valued(Sample):
    """A model whose predictions are kept."""

    card: Mapping[str, Any] = {**Sample.card, "value": {"decisions": 1}}

    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
        """Faults of libraries quote values."""
        for job in frame["job"].cast(pl.String):
            if job.endswith("crash"):
                raise RuntimeError(f"cannot read {job}")
        return super().predict(frame, check=check)


class Canaries:
    """Random words by the way that each goes in. folder: for everything that the servers leave."""

    def __init__(self, folder: Path):
        self.folder, self.words = folder, dict[str, str]()
        (folder / "runs").mkdir(parents=True)
        self.world = AdminWorld(folder / "runs")
        self._operator = self.world.operator()
        self._own = str(self.world.key("own")["key"])
        self.words |= {self._operator: "an operator's key", self._own: "a key of our own"}
        certificates(folder)

    def word(self, way: str) -> str:
        made = f"canary{secrets.token_hex(16)}"
        self.words[made] = way
        return made

    def send(self, count: int) -> None:
        """At least `count` of them, in turns, through servers that log all that they can."""
        world = self.world
        with _logged(self.folder / "server.log"), elsewhere(self.folder, world, self.words, self.word) as there:
            world.user(email="jo@acme.example", organisation="acme", role="developer")
            while len(self.words) < count:
                asyncio.run(self._round(there))

    def found(self) -> list[str]:
        """`way: file` of each word that lies in a file, as it was, in base64 or in hexadecimal digits."""
        self._leave()
        forms = {
            form: word for word in self.words for form in (word, base64.b64encode(word.encode()).decode(), word.encode().hex())
        }
        told = []
        for path in sorted(self.folder.rglob("*")):
            text = path.read_bytes().decode("latin-1") if path.is_file() else str(path)
            told += [f"{self.words[word]}: {path.name}" for form, word in forms.items() if form in text]
        return told

    def _leave(self) -> None:
        """A backup, what comes back of it, and the journal as people read it."""
        key = new_key(self.folder / f"backup-{len(list(self.folder.iterdir()))}.key")
        target, back = self.folder / "target", self.folder / "back"
        for old in (target, back):
            shutil.rmtree(old, ignore_errors=True)
        repository = Repository(open_target(target), key, make=True)
        backup(Source(self.world.folder, self.world.store), repository, now_us=self.world.now_us)
        restore(repository, back, check=True)
        with self.world.store.view() as session:
            (self.folder / "audit.json").write_bytes(orjson.dumps(entries(session, Wanted(limit=10**6))))

    async def _round(self, there: Elsewhere) -> None:
        self.world.later(1)
        await self._requests()
        headers = {"authorization": f"Bearer {self._key()['key']}"}  # before the gate reads who there is
        async with _client(there.resold(self._gate(NAME))) as client:
            await there.talk(client, headers)
        await self._admin()
        await self._logins()
        await there.login()

    def _key(self, **fields: Any) -> dict[str, Any]:
        made = self.world.key("acme", **fields)
        self.words[made["key"]] = "a key of ours"
        return made

    def _gate(self, model: str) -> BooksGate:
        return BooksGate(self.world.store, self.world.pepper, model=model, options=GateOptions(), now_us=self.world.now_us)

    async def _requests(self) -> None:
        made, old = self._key(), self._key()
        self.words[self.world.rotate(old["id"])["key"]] = "a rotated key"
        keys.revoke(self.world.store, "cli", "acme", self._key()["id"], now_us=self.world.now_us)
        async with _client(create_app(Valued(), ServeOptions(), self._gate("sample"))) as client:
            for key in (made["key"], old["key"]):
                await self._rows(client, {"authorization": f"Bearer {key}"})
            await self._strangers(client)
        async with _client(create_language_app(FakeModel(), LanguageServeOptions(), self._gate("toy"))) as client:
            headers = {"authorization": f"Bearer {made['key']}"}
            await self._prompts(client, headers)
            shown = await client.get("/metrics", headers={"authorization": f"Bearer {self._own}"})
            assert shown.status_code == 200, shown.text
            (self.folder / "metrics.txt").write_text(shown.text)

    async def _rows(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        row = {"age": 39, "job": self.word("a cell"), "born": None, "member": True, "photo": None}
        again = {**headers, "idempotency-key": f"id-{len(self.words)}"}
        for _ in range(2):  # the second is a replay
            assert (await client.post(PREDICT, json={"rows": [row]}, headers=again)).status_code == 200
        other = {**row, "job": self.word("a row under an id of another")}
        assert (await client.post(PREDICT, json={"rows": [other]}, headers=again)).status_code == 409
        for cell, way in (("age", "a cell of a wrong type"), (self.word("a column"), "a cell of no column")):
            await client.post(PREDICT, json={"rows": [{**row, cell: self.word(way)}]}, headers=headers)
        await client.post(PREDICT, content=f'{{"rows": [{{"job": "{self.word("a broken body")}', headers=headers)
        odd = {**row, "job": f"{self.word('a cell that breaks the model')} crash"}
        crash = await client.post(PREDICT, json={"rows": [odd, row]}, headers=headers)
        assert crash.status_code == 500

    async def _strangers(self, client: httpx.AsyncClient) -> None:
        for scheme in ("Bearer ", "Basic ", "", "Bearer lode_"):
            found = await client.post(PREDICT, json={"rows": []}, headers={"authorization": scheme + self.word("a wrong key")})
            assert found.status_code == 401
        odd = {
            "x-api-key": self.word("a header"),
            "cookie": f"session={self.word('a cookie')}",
            "user-agent": self.word("an agent"),
        }
        await client.post(PREDICT, json={}, headers=odd)
        await client.get(f"/v1/models?key={self.word('a query')}")
        await client.get(f"/v1/models/{self.word('a path')}")

    async def _prompts(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        for stream in (False, True):
            text = f"{self.word('a prompt')} say:hello"
            body = {"model": "toy", "messages": [{"role": "user", "content": text}], "max_tokens": 8, "stream": stream}
            again = {**headers, "idempotency-key": f"talk-{len(self.words)}"}
            for _ in range(2):
                assert (await client.post(CHAT, json=body, headers=again)).status_code == 200
        await client.post(CHAT, json={**body, "messages": self.word("a wrong prompt")}, headers=headers)
        await client.post(CHAT, json={**body, "model": self.word("a wrong model")}, headers=headers)
        crash = {**body, "stream": False, "messages": [{"role": "user", "content": f"{self.word('a crash')} say crash"}]}
        await client.post(CHAT, json=crash, headers=headers)

    async def _admin(self) -> None:
        operator = self._operator
        app = self.world.app()
        bodies = (
            {"organisation": {"x": self.word("a wrong body")}}, {self.word("an unknown field"): 1},
            {"organisation": "x y", "token": self.word("a value beside")},
        )  # fmt: skip
        for body in bodies:
            answer = await ask(app, "POST", f"{BASE}/organisations", operator, orjson.dumps(body))
            assert answer.status in (400, 422), answer.body
        await ask(app, "POST", f"{BASE}/organisations", operator, f'{{"x": "{self.word("a torn body")}'.encode())
        await ask(app, "GET", f"{BASE}/organisations", self.word("a wrong admin key"))
        made = await ask(app, "POST", f"{BASE}/organisations/acme/keys", operator, b'{"name": "k"}')
        if made.status in (200, 201):
            self.words[made.json["key"]] = "a key over HTTP"

    async def _logins(self) -> None:
        options = LdapOptions(
            address="ldap://127.0.0.1:9",
            base="o=x",
            ca_file=str(self.folder / "ca.pem"),
            bind_dn="cn=x",
            bind_password_file="-",
            timeout_s=1,
        )
        gate = Authenticator(self.world.store, self.world.directory, self.world.pepper, self.world.now_us)
        away = Ldap(options, self.word("the LDAP server's password"))
        access = Access(ldap=options, client_secret=self.word("the OIDC client's secret"))
        for server in (Slow(), away):
            app = Starlette(routes=Login(access, gate, server).routes())
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="https://lode.example") as client:
                body = {"name": self.word("a login's name"), "password": self.word("a password")}
                assert (await client.post("/admin/login", json=body)).status_code in (401, 503)
                await client.post("/admin/login", content=f'{{"password": "{self.word("a torn login")}')
                await client.get("/admin/callback", params={"code": self.word("a code"), "state": self.word("a state")})
                await client.get("/admin/session", cookies={"__Host-lode_session": self.word("a session")})


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything that is logged in this process, down to the smallest, goes into a file. What clients of tests log is not ours."""
    root, handler = logging.getLogger(), logging.FileHandler(path)
    handler.addFilter(lambda record: not record.name.startswith(("httpx", "httpcore")))
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


class _client:  # noqa: N801 (used like a function)
    """A client of an application whose lifespan runs."""

    def __init__(self, app: Starlette):
        self._app, self._life = app, app.router.lifespan_context(app)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def __aenter__(self) -> httpx.AsyncClient:
        await self._life.__aenter__()
        return self._client

    async def __aexit__(self, *error: Any) -> None:
        await self._client.aclose()
        await self._life.__aexit__(*error)
