"""`lode admin` with OpenID Connect, walked from end to end: the command, an identity provider over TLS with a certificate that only
`ca_file` trusts, a browser behind a proxy with TLS, and a second process on the same books.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lode.app.access import oidc
from lode.app.access.setup import access_of, tried
from lode.app.admin.contracts import Platform
from lode.app.admin.service import AdminOptions, create_admin_app
from lode.core.errors import ServeError
from tests.flows.ldap_server import certificates
from tests.unit.app.access.provider import CLIENT, SECRET, Provider, running
from tests.unit.app.access.world import World

SITE = "https://lode.example"
ACCESS = """[oidc]
issuer = "{issuer}"
client_id = "{client}"
client_secret_file = "secret"
redirect = "https://lode.example/admin/callback"
ca_file = "{ca}"
"""
ME = "/admin/v1/organisations/acme"


class Front(httpx.AsyncBaseTransport):
    """The proxy with TLS that stands before `lode admin`."""

    def __init__(self, url: str):
        self._url, self._inner = httpx.URL(url), httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = request.url.copy_with(scheme=self._url.scheme, host=self._url.host, port=self._url.port)
        return await self._inner.handle_async_request(
            httpx.Request(request.method, place, headers=request.headers, stream=request.stream)
        )


@dataclass
class Site:
    """Books, a provider, and how people log in. files: the folder of certificates."""

    world: World
    provider: Provider
    files: Path

    def platform(self) -> Platform:
        world = self.world
        return Platform(world.store, None, world.folder, world.pepper, world.now_us, lambda: pytest.fail("no seller is needed"))

    def access_file(self, ca: str = "ca.pem") -> Path:
        path = self.world.folder / "access.toml"
        path.write_text(ACCESS.format(issuer=self.provider.issuer, client=CLIENT, ca=self.files / ca))
        return path

    def another(self) -> httpx.ASGITransport:
        """A second process on the same books, in this one."""
        return httpx.ASGITransport(app=create_admin_app(self.platform(), access_of(self.world.folder), AdminOptions()))

    def browser(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=transport, base_url=SITE)

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[httpx.AsyncClient]:
        """The same browser at the provider's."""
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(self.files / "ca.pem"))) as client:
            yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    with running(Provider(), folder) as provider:
        yield provider, folder


@pytest.fixture
def site(tmp_path: Path, shared: tuple[Provider, Path]) -> Iterator[Site]:
    world = World(tmp_path)
    world.time_us = time.time_ns() // 1000
    shared[0].new_day(lambda: int(time.time()))
    world.customer()
    world.user(email="jo@acme.example", organisation="acme", role="admin")
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    made = Site(world, *shared)
    made.access_file()
    yield made
    world.store.close()


@contextmanager
def command(folder: Path) -> Iterator[str]:
    """The address of a running `lode admin`."""
    with subprocess.Popen(
        [sys.executable, "-m", "lode", "admin", "--port", "0", "--runs", str(folder)], text=True, stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[3].removesuffix("/admin/v1,")
            assert process.stderr.readline() == "Logins: OpenID Connect.\n"
            yield url
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


async def through(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> tuple[httpx.Response, str]:
    """A login: the answer of /admin/callback, and its address."""
    asked = await ours.get("/admin/login", params={"next": "/admin/usage"})
    assert asked.status_code == 303, asked.text
    back = (await theirs.get(asked.headers["location"])).headers["location"]
    assert back.startswith(f"{SITE}/admin/callback?")
    return await ours.get(back), back


def flags(answer: httpx.Response, name: str) -> set[str]:
    (written,) = (value for value in answer.headers.get_list("set-cookie") if value.startswith(f"{name}="))
    return set(written.split("; ")[1:])


def test_a_login_with_the_command_over_tls_and_its_end_everywhere(site: Site) -> None:
    async def main(url: str) -> None:
        async with site.browser(Front(url)) as ours, site.browser(site.another()) as second, site.outside() as theirs:
            asked = await ours.get("/admin/login")
            sent = parse_qs(urlsplit(asked.headers["location"]).query)
            assert sent["code_challenge_method"] == ["S256"] and len(sent["state"][0]) == len(sent["nonce"][0]) == 43
            assert flags(asked, "__Host-lode_login") == {"Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"}
            done, back = await through(ours, theirs)
            assert done.status_code == 303 and done.headers["location"] == "/admin/usage"
            assert flags(done, "__Host-lode_session") == {"Path=/", "Max-Age=28800", "HttpOnly", "SameSite=Lax", "Secure"}
            assert (await ours.get(back)).status_code == 401  # the same answer a second time
            who = (await ours.get("/admin/session")).json()
            assert who["roles"] == {"acme": "admin"}
            await _used(ours, second, who["csrf"])
            await _ended(ours, second, theirs, who["csrf"])

    with command(site.world.folder) as url:
        asyncio.run(main(url))


async def _used(ours: httpx.AsyncClient, second: httpx.AsyncClient, csrf: str) -> None:
    """The session opens the API, in both processes, and changes something only with its word."""
    second.cookies.update(ours.cookies)
    assert (await ours.get(ME)).status_code == (await second.get(ME)).status_code == 200
    assert (await ours.post(f"{ME}/projects", json={"name": "x"})).status_code == 403
    assert (await ours.post(f"{ME}/projects", json={"name": "x"}, headers={"x-csrf-token": csrf})).status_code == 201


async def _ended(ours: httpx.AsyncClient, second: httpx.AsyncClient, theirs: httpx.AsyncClient, csrf: str) -> None:
    """Logged out in one process is logged out in the other at once; then the browser is led to the provider's own end."""
    out = await ours.post("/admin/logout", headers={"x-csrf-token": csrf})
    assert out.status_code == 200 and flags(out, "__Host-lode_session") >= {"Max-Age=0", "Secure"}
    assert (await second.get(ME)).status_code == (await second.get("/admin/session")).status_code == 401
    ended = await theirs.get(out.json()["provider"])
    assert ended.text == "logged out" and parse_qs(ended.url.query.decode()) == {"client_id": [CLIENT]}


def test_what_is_not_as_it_should_be_opens_nothing(site: Site) -> None:
    provider, now = site.provider, int(time.time())
    claims: tuple[dict[str, Any], ...] = (
        {"iss": "https://evil.example"}, {"aud": "another"}, {"exp": now - 100}, {"nonce": "another"}, {"exp": None},
    )  # fmt: skip

    async def main() -> None:
        async with site.browser(site.another()) as ours, site.outside() as theirs:
            for wrong in claims:
                provider.claims = wrong
                assert (await through(ours, theirs))[0].status_code == 401, wrong
            provider.claims = {}
            for way in (provider.unsigned, provider.confused, provider.forged):
                provider.sign = way
                assert (await through(ours, theirs))[0].status_code == 401, way
            provider.sign, provider.answer_changes = None, {"state": "another"}
            assert (await through(ours, theirs))[0].status_code == 401
            assert "__Host-lode_session" not in ours.cookies and (await ours.get(ME)).status_code == 401
            provider.answer_changes = {}
            assert (await through(ours, theirs))[0].status_code == 303

    asyncio.run(main())


def test_new_keys_of_the_provider_are_fetched_and_old_ones_open_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "UNKNOWN_KEY_WAIT_S", 0.0)
    provider = site.provider

    async def main() -> None:
        async with site.browser(site.another()) as ours, site.outside() as theirs:
            assert (await through(ours, theirs))[0].status_code == 303
            old = provider.key
            provider.rotate("two")
            assert (await through(ours, theirs))[0].status_code == 303 and provider.keys_read == 2
            provider.key = old  # stolen, or thrown away
            assert (await through(ours, theirs))[0].status_code == 401

    asyncio.run(main())


def test_a_key_for_encryption_signs_nothing(site: Site) -> None:
    site.provider.published = [{**site.provider.published[0], "use": "enc"}]

    async def main() -> int:
        async with site.browser(site.another()) as ours, site.outside() as theirs:
            return (await through(ours, theirs))[0].status_code

    assert asyncio.run(main()) == 503  # no keys at all


@pytest.mark.parametrize("changes", [{"end_session_endpoint": None}, {"end_session_endpoint": "http://evil.example/end"}])
def test_a_logout_without_a_place_at_the_provider_still_ends_ours(site: Site, changes: dict[str, Any]) -> None:
    site.provider.metadata_changes = changes

    async def main() -> None:
        async with site.browser(site.another()) as ours, site.outside() as theirs:
            await through(ours, theirs)
            csrf = (await ours.get("/admin/session")).json()["csrf"]
            kept = dict(ours.cookies)
            out = await ours.post("/admin/logout", headers={"x-csrf-token": csrf})
            assert out.json() == {"logged_in": False, "provider": None}
            ours.cookies.update(kept)
            assert (await ours.get("/admin/session")).status_code == 401

    asyncio.run(main())


def test_a_provider_whose_certificate_nobody_vouches_for_is_not_spoken_to(site: Site) -> None:
    for ca in ("other-ca.pem", None):
        path = site.access_file(ca or "ca.pem")
        if ca is None:  # the system's own
            path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("ca_file")))

        async def asked() -> int:
            async with site.browser(site.another()) as ours:
                return (await ours.get("/admin/login")).status_code

        assert asyncio.run(asked()) == 503
        with pytest.raises(ServeError, match=r"oidc\.issuer: https://localhost:\d+: .*does not answer"):
            tried(access_of(site.world.folder))
    assert site.provider.keys_read == site.provider.exchanges == 0
    site.access_file()
    assert tried(access_of(site.world.folder))["oidc"] == site.provider.issuer
