"""Login by a real LDAP server: the right password, everything else, and a server that is not what it should be."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import ldap3
import pytest
from starlette.applications import Starlette

from lode.app.access.ldap import Ldap, group_key, identity_of
from lode.app.access.options import Access, LdapOptions
from lode.app.access.setup import set_up, tried
from lode.app.admin.contracts import Platform
from lode.app.admin.service import AdminOptions, create_admin_app
from lode.app.contracts import RequestError
from lode.core.errors import ServeError
from tests.flows.ldap_server import READER, READER_PASSWORD, SUFFIX, LdapServer, group, person, slapd
from tests.unit.app.access.world import World

pytestmark = pytest.mark.servers

PEOPLE = (
    person("jo", "correct horse", mail="jo@acme.example", displayName="Jo"),
    person("al", "p\u00e4ssw\u00f6rd", mail="al@acme.example"),
    person("twin", "x1", mail="twin@acme.example"),
    person("star*", "x2"),
    group("Ops", "al"),
    group("Leads", "jo", "al"),
    group("Unmapped", "jo"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[LdapServer]:
    made = slapd("".join(PEOPLE))
    yield made
    made.stop()
    shutil.rmtree(made.folder)


@pytest.fixture
def options(server: LdapServer) -> LdapOptions:
    return LdapOptions(
        address=server.secure, base=f"ou=people,{SUFFIX}", ca_file=str(server.folder / "ca.pem"), bind_dn=READER,
        bind_password_file="-", groups_base=f"ou=groups,{SUFFIX}",
        roles={f"CN=ops, OU=Groups,{SUFFIX.upper()}": "operator", f"cn=leads,ou=groups,{SUFFIX}": "acme:admin"},
    )  # fmt: skip


def test_both_kinds_of_encryption_find_the_person_and_the_groups(server: LdapServer, options: LdapOptions) -> None:
    for address in (server.secure, server.plain):
        used = replace(options, address=address)
        ldap = Ldap(used, READER_PASSWORD)
        ldap.connect()
        jo = ldap.authenticate("jo", "correct horse")
        assert jo is not None and jo.email == "jo@acme.example" and len(jo.id) == 36
        found = identity_of(ldap, used, jo)
        assert (found.roles, found.operator, found.issuer) == ({"acme": "admin"}, "", "ldap:ou=people,dc=acme,dc=example")
        al = ldap.authenticate("AL", "p\u00e4ssw\u00f6rd")
        assert al is not None and identity_of(ldap, used, al).operator == "operator"


WRONG = [
    ("jo", ""),
    ("jo", "correct hors"),
    ("jo", "Correct horse"),
    ("jo", "correct horse\0"),
    ("jo", "x" * 100_000),
    ("jo", "\u00ad"),  # prepared for the wire (RFC 4013) nothing is left of it: an empty password
    ("jo", "\ufe00\u2060"),
    ("jo", "correct horse\x07"),
    ("", "correct horse"),
    ("nobody", "correct horse"),
    ("j*", "correct horse"),
    ("*", "x1"),
    ("jo)(uid=*", "correct horse"),
    ("jo)(|(uid=*", "correct horse"),
    ("*)(objectClass=*", "correct horse"),
    ("jo\0", "correct horse"),
    (READER, READER_PASSWORD),
    ("lode", READER_PASSWORD),
    ("x" * 100_000, "x"),
    ("\u202ejo", "correct horse"),
]


def test_wrong_names_and_passwords_open_nothing(options: LdapOptions) -> None:
    ldap = Ldap(options, READER_PASSWORD)
    for name, password in WRONG:
        assert ldap.authenticate(name, password) is None, (name[:40], password[:40])
    star = ldap.authenticate("star*", "x2")  # a star in a name is a letter
    assert star is not None and star.login == "star*"
    everybody = Ldap(replace(options, filter="(&(objectClass=person)(|(uid={name})(sn=*)))"), READER_PASSWORD)
    # Several entries are nobody, whichever of them the server names first.
    assert everybody.authenticate("jo", "correct horse") is everybody.authenticate("al", "p\u00e4ssw\u00f6rd") is None


def test_a_server_that_is_not_ours_hears_no_password(server: LdapServer, options: LdapOptions, tmp_path: Path) -> None:
    for address in (server.secure, server.plain):
        for changes in (
            {"ca_file": str(server.folder / "other-ca.pem"), "address": address},
            {"address": address.replace("localhost", "127.0.0.1")},  # the certificate names localhost only
        ):
            ldap = Ldap(replace(options, **changes), READER_PASSWORD)
            with pytest.raises(ServeError, match=r"ldap\.address"):
                ldap.connect()
            with pytest.raises(RequestError) as caught:
                ldap.authenticate("jo", "correct horse")
            assert caught.value.status == 503 and "horse" not in caught.value.message


def test_what_is_configured_wrongly_is_said(server: LdapServer, options: LdapOptions) -> None:
    for ldap, text in (
        (Ldap(options, "wrong"), "refuses cn=lode"),
        (Ldap(options, ""), "empty password"),
        (Ldap(replace(options, address="ldaps://localhost:1"), READER_PASSWORD), "does not answer"),
    ):
        with pytest.raises(ServeError, match=text):
            ldap.connect()
    assert tried(Access(ldap=options, bind_password=READER_PASSWORD)) == {"oidc": None, "ldap": server.secure}
    assert group_key("CN=Ops , OU=Groups") == "cn=ops,ou=groups" and group_key("no dn at all") == "no dn at all"


def test_a_login_over_http(tmp_path: Path, options: LdapOptions) -> None:
    world = World(tmp_path)
    world.customer()
    access = Access(ldap=options, bind_password=READER_PASSWORD)
    _, routes = set_up(access, world.store, world.directory, world.pepper, now_us=world.now_us)

    async def main() -> None:
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="https://lode.example") as browser:
            done = await browser.post("/admin/login", json={"name": "jo", "password": "correct horse"})
            assert done.status_code == 200 and "Secure" in done.headers["set-cookie"], done.text
            who = (await browser.get("/admin/session")).json()
            assert who["roles"] == {"acme": "admin"} and who["email"] == "jo@acme.example"
            await _refused(browser)

    asyncio.run(main())
    logins = [kind for kind, _ in world.acts()]
    assert logins == ["organisation.create", "user.login"] and b"correct horse" not in world.raw()
    world.store.close()


def test_the_admin_api_is_opened_over_both_kinds_of_encryption_until_the_logout(
    tmp_path: Path, server: LdapServer, options: LdapOptions
) -> None:
    world = World(tmp_path)
    world.customer()

    async def walk(address: str) -> None:
        access = Access(ldap=replace(options, address=address), bind_password=READER_PASSWORD)
        platform = Platform(world.store, None, tmp_path, world.pepper, world.now_us, lambda: pytest.fail("no seller is needed"))
        transport = httpx.ASGITransport(app=create_admin_app(platform, access, AdminOptions()))
        async with httpx.AsyncClient(transport=transport, base_url="https://lode.example") as browser:
            done = await browser.post("/admin/login", json={"name": "jo", "password": "correct horse"})
            kept, csrf = dict(browser.cookies), {"x-csrf-token": done.json()["csrf"]}
            assert (await browser.get("/admin/v1/organisations/acme")).status_code == 200
            out = await browser.post("/admin/logout", headers=csrf)
            assert out.json() == {"logged_in": False, "provider": None}
            browser.cookies.update(kept)
            assert (await browser.get("/admin/v1/organisations/acme")).status_code == 401

    for address in (server.secure, server.plain):
        asyncio.run(walk(address))
    world.store.close()


def test_an_unknown_name_costs_the_server_what_a_wrong_password_does(options: LdapOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    ldap, bound = Ldap(options, READER_PASSWORD), []
    bind = ldap3.Connection.bind
    monkeypatch.setattr(ldap3.Connection, "bind", lambda self: bound.append(self.user) or bind(self))
    for name in ("jo", "nobody", "*"):
        assert ldap.authenticate(name, "wrong") is None
        assert len(bound) == 2 and bound[0] == READER, name
        bound.clear()


async def _refused(browser: httpx.AsyncClient) -> None:
    wrong: list[dict[str, Any]] = [
        {"content": b"name=jo&password=x", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b'{"name": "jo", "password": "correct horse"}', "headers": {"content-type": "text/plain"}},
        {"json": {"name": "jo"}},
        {"json": {"name": ["jo"], "password": 1}},
        {"json": []},
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"json": {"name": "jo", "password": "x" * 5000}},
    ]
    for body in wrong:
        assert (await browser.post("/admin/login", **body)).status_code == 400
    statuses = [(await browser.post("/admin/login", json={"name": "Jo", "password": "guess"})).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    waiting = await browser.post("/admin/login", json={"name": "jo", "password": "correct horse"})
    assert waiting.status_code == 429 and waiting.headers["retry-after"] == "300"
    assert (await browser.get("/admin/login")).status_code == 404
