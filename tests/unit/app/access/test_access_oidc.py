"""Login by an identity provider that really answers: the good path once, and everything that must be refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
from starlette.applications import Starlette

from lode.app.access import members
from lode.app.access.authentication import Authenticator
from lode.app.access.oidc import KEYS_MAX_AGE_S, KEYS_OLDEST_S, UNKNOWN_KEY_WAIT_S, Oidc
from lode.app.access.options import Access, OidcOptions
from lode.app.access.setup import set_up
from lode.app.contracts import RequestError
from lode.core.errors import ServeError
from tests.unit.app.access.provider import AUDIENCE, CLIENT, SECRET, Provider, running
from tests.unit.app.access.world import World

T = TypeVar("T")
HOME = "http://127.0.0.1:8000"


@dataclass
class Site:
    """Our side: the routes of login over the books, a browser for them, a clock for the age of keys."""

    world: World
    provider: Provider
    options: OidcOptions

    def talk(self, conversation: Callable[[httpx.AsyncClient, httpx.AsyncClient], Awaitable[T]]) -> T:
        """`await conversation(browser at our side, browser at the provider's)`."""
        access = Access(oidc=self.options, client_secret=SECRET)

        async def main() -> T:
            _, routes = set_up(access, self.world.store, self.world.directory, self.world.pepper, now_us=self.world.now_us)
            transport = httpx.ASGITransport(app=Starlette(routes=routes))
            async with httpx.AsyncClient(transport=transport, base_url=HOME) as ours, httpx.AsyncClient(verify=False) as theirs:
                return await conversation(ours, theirs)

        return asyncio.run(main())

    def login(self) -> httpx.Response:
        """The answer of /admin/callback at the end of a whole login."""
        return self.talk(through)


async def through(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> httpx.Response:
    asked = await ours.get("/admin/login", params={"next": "/admin/usage"})
    assert asked.status_code == 303, asked.text
    back = await theirs.get(asked.headers["location"])
    return await ours.get(back.headers["location"].removeprefix(HOME))


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    with running(Provider()) as provider:
        yield provider


@pytest.fixture
def site(world: World, shared: Provider) -> Site:
    """A new day at the same provider."""
    shared.new_day(lambda: world.time_us // 1_000_000)
    world.customer()
    world.user(email="jo@acme.example", organisation="acme", role="developer")
    options = OidcOptions(
        issuer=shared.issuer, client_id=CLIENT, redirect=f"{HOME}/admin/callback", audience=AUDIENCE, roles_claim="groups",
        roles={"ops": "operator", "acme-leads": "acme:admin", "acme-all": "acme:viewer"},
    )  # fmt: skip
    return Site(world, shared, options)


def test_a_whole_login_gives_a_session_that_ends(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        done = await through(ours, theirs)
        assert done.status_code == 303 and done.headers["location"] == "/admin/usage", done.text
        cookie = next(value for value in done.headers.get_list("set-cookie") if value.startswith("lode_session="))
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Max-Age=28800" in cookie
        who = (await ours.get("/admin/session")).json()
        assert who["roles"] == {"acme": "developer"} and who["name"] == "Jo" and who["operator"] == ""
        assert (await ours.post("/admin/logout")).status_code == 403
        assert (await ours.post("/admin/logout", headers={"x-csrf-token": "0" * 64})).status_code == 403
        token = ours.cookies["lode_session"]
        assert token.encode() not in site.world.raw()
        assert (await ours.post("/admin/logout", headers={"x-csrf-token": who["csrf"]})).status_code == 200
        again = await ours.get("/admin/session", headers={"cookie": f"lode_session={token}"})
        assert again.status_code == 401  # ended on the server, not only in the browser

    site.talk(conversation)
    kinds = [kind for kind, _ in site.world.acts()]
    assert kinds == ["organisation.create", "user.change", "user.login", "user.logout"]


def test_the_session_follows_roles_and_time(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        await through(ours, theirs)
        first = ours.cookies["lode_session"]
        await through(ours, theirs)
        assert ours.cookies["lode_session"] != first
        old = await ours.get("/admin/session", headers={"cookie": f"lode_session={first}"})
        assert old.status_code == 401  # a new login ends the older session of the browser
        site.world.user(email="jo@acme.example", organisation="acme", role="")
        assert (await ours.get("/admin/session")).json()["roles"] == {}
        site.world.later(8)
        assert (await ours.get("/admin/session")).status_code == 401

    site.talk(conversation)


def refused(site: Site, status: int = 401) -> str:
    before = site.world.acts()
    done = site.login()
    assert done.status_code == status, done.text
    assert site.world.acts() == before
    assert not any("lode_session=" in value for value in done.headers.get_list("set-cookie"))
    return str(done.json()["error"]["message"])


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("invalid_claim aud", {"aud": "somebody-else"}),
    ("invalid_claim aud", {"aud": AUDIENCE}),
    ("missing_claim azp", {"aud": [CLIENT, "other"]}),
    ("invalid_claim azp", {"aud": [CLIENT, "other"], "azp": "other"}),
    ("invalid_claim iss", {"iss": "https://evil.example"}),
    ("missing_claim iss", {"iss": None}),
    ("missing_claim aud", {"aud": None}),
    ("missing_claim sub", {"sub": None}),
    ("missing_claim exp", {"exp": None}),
    ("missing_claim iat", {"iat": None}),
    ("expired_token exp", {"exp": 1_800_000_000 - 61}),
    ("invalid_claim nbf", {"nbf": 1_800_000_000 + 61}),
    ("invalid_claim iat", {"iat": 1_800_000_000 + 61}),
    ("invalid_claim nonce", {"nonce": "another login's"}),
    ("missing_claim nonce", {"nonce": None}),
    ("invalid_claim exp", {"exp": "tomorrow"}),
    ("invalid_claim sub", {"sub": 7}),
    ("invalid_claim at_hash", {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
]


def test_wrong_claims_are_refused_and_named(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        for word, claims in WRONG:
            site.provider.claims = claims
            done = await through(ours, theirs)
            assert done.status_code == 401 and word in done.text, (word, done.text)
            assert "lode_session" not in ours.cookies
        site.provider.claims = {}
        assert (await through(ours, theirs)).status_code == 303

    site.talk(conversation)
    assert [kind for kind, _ in site.world.acts()].count("user.login") == 1


def test_a_minute_of_skew_is_no_reason(site: Site) -> None:
    site.provider.claims = {"exp": 1_800_000_000 - 59, "nbf": 1_800_000_000 + 59, "iat": 1_800_000_000 + 59}
    assert site.login().status_code == 303


def test_wrong_signatures_are_refused(site: Site) -> None:
    ways = {
        site.provider.unsigned: "a way that is not",
        site.provider.confused: "a way that is not",
        site.provider.forged: "bad_signature",
    }
    for way, word in ways.items():
        site.provider.sign = way
        assert word in refused(site), way
    site.provider.sign = None
    assert site.login().status_code == 303


def test_headers_that_choose_their_own_key_are_refused(site: Site) -> None:
    other = site.provider.key
    for header in ({"jku": "https://evil.example/keys"}, {"typ": "logout+jwt"}, {"crit": ["exp"], "exp": 1}):
        site.provider.sign = lambda claims, header=header: site.provider.signed(claims, **header)  # type: ignore[misc]
        if "jku" in header:  # ignored, never followed: the key is the provider's own
            assert site.login().status_code in (303, 401)
        else:
            refused(site)
    assert other is site.provider.key


def test_symmetric_keys_in_the_public_list_are_ignored(site: Site) -> None:
    site.provider.published.insert(0, {"kty": "oct", "kid": "one", "k": "AAAA"})
    assert site.login().status_code == 303
    site.provider.published = [{"kty": "oct", "kid": "one", "k": "AAAA"}, {"kty": "RSA", "kid": "x"}, {"kty": "PQC"}]
    assert "no keys" in refused(site, 503)


def test_wrong_answers_are_refused_before_the_code_is_used(site: Site) -> None:
    wrong: list[dict[str, Any]] = [
        {"state": "other"},
        {"state": None},
        {"code": None},
        {"code": "x\x01"},
        {"error": "access_denied"},
    ]
    for changes in (*wrong, {"iss": "https://evil.example"}):
        site.provider.answer_changes = changes
        refused(site)
    assert site.provider.exchanges == 0


def test_a_provider_that_names_itself_must(site: Site) -> None:
    site.provider.metadata_changes = {"authorization_response_iss_parameter_supported": True}
    assert "another identity provider" in refused(site)
    site.provider.answer_changes = {"iss": site.provider.issuer}
    assert site.login().status_code == 303


def test_a_login_is_used_once(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        asked = await ours.get("/admin/login")
        cookie = {"cookie": f"lode_login={ours.cookies['lode_login']}"}
        back = (await theirs.get(asked.headers["location"])).headers["location"].removeprefix(HOME)
        assert (await ours.get(back, headers=cookie)).status_code == 303
        assert "invalid_grant" in (await ours.get(back, headers=cookie)).text  # the code
        fresh = (await theirs.get(asked.headers["location"])).headers["location"].removeprefix(HOME)
        assert "used before" in (await ours.get(fresh, headers=cookie)).text  # state and nonce, with a new code
        late = await ours.get("/admin/login")
        back = (await theirs.get(late.headers["location"])).headers["location"].removeprefix(HOME)
        site.world.later(0.2)
        assert "ten minutes" in (await ours.get(back)).text

    site.talk(conversation)


def test_a_login_belongs_to_the_browser_that_began_it(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        asked = await ours.get("/admin/login")
        back = (await theirs.get(asked.headers["location"])).headers["location"].removeprefix(HOME)
        sealed = ours.cookies["lode_login"]
        body, _, seal = sealed.partition(".")
        for cookie in (
            "",
            "lode_login=",
            f"lode_login={body}.{'0' * 64}",
            f"lode_login=A{body}.{seal}",
            "lode_login=" + "x" * 9000,
            "\x01;;=",
        ):
            ours.cookies.clear()
            assert (await ours.get(back, headers={"cookie": cookie})).status_code == 401
        assert site.provider.exchanges == 0

    site.talk(conversation)


def test_nobody_is_sent_elsewhere_after_a_login(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        for next in ("https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nset-cookie: x=1", "javascript:1", ""):
            asked = await ours.get("/admin/login", params={"next": next})
            back = (await theirs.get(asked.headers["location"])).headers["location"].removeprefix(HOME)
            assert (await ours.get(back)).headers["location"] == "/admin", next

    site.talk(conversation)


def test_who_was_not_invited_stays_outside(site: Site) -> None:
    site.provider.claims = {"sub": "eve", "email": "eve@acme.example"}
    assert "nobody gave you a role" in refused(site, 403)
    site.provider.claims = {"sub": "eve", "email": "jo@acme.example", "email_verified": False}
    refused(site, 403)
    site.provider.claims = {"sub": "eve", "email": "jo@acme.example", "email_verified": "true"}
    refused(site, 403)
    site.provider.claims = {}
    assert site.login().status_code == 303
    site.provider.claims = {"sub": "eve"}  # the address is tied to Jo's login by now
    refused(site, 403)


def test_groups_give_roles_and_books_come_first(site: Site) -> None:
    site.provider.claims = {"sub": "op-1", "email": "op@us.example", "groups": ["ops", "acme-all", "acme-leads", 7]}

    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> dict[str, Any]:
        await through(ours, theirs)
        found: dict[str, Any] = (await ours.get("/admin/session")).json()
        return found

    who = site.talk(conversation)
    assert who["operator"] == "operator" and who["roles"] == {"acme": "admin"}
    assert members.operators(site.world.store)["users"] == []  # a group's role is the session's, not the book's
    site.provider.claims = {"groups": ["acme-leads"]}
    assert site.talk(conversation)["roles"] == {"acme": "developer"}


def test_logins_are_refused_and_forgotten_by_the_operator(site: Site) -> None:
    async def conversation(ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> None:
        await through(ours, theirs)
        site.world.user(email="jo@acme.example", login="refuse")
        assert (await ours.get("/admin/session")).status_code == 401
        assert (await through(ours, theirs)).status_code == 403
        site.world.user(email="jo@acme.example", login="allow")
        site.provider.claims = {"sub": "jo-at-the-new-provider"}
        assert (await through(ours, theirs)).status_code == 403
        site.world.user(email="jo@acme.example", login="forget")
        assert (await through(ours, theirs)).status_code == 303

    site.talk(conversation)


def machine(oidc: Oidc, world: World, token: str) -> Any:
    gate = Authenticator(world.store, world.directory, world.pepper, world.now_us, False, oidc)
    return asyncio.run(gate.principal("POST", {b"authorization": f"Bearer {token}".encode()}))


def test_machines_come_with_a_token_for_their_own_audience(site: Site) -> None:
    oidc = Oidc(site.options, now_s=site.provider.now_s)
    provider = site.provider
    who = machine(oidc, site.world, provider.signed(provider.person(sub="ci", aud=AUDIENCE, groups=["acme-all"]), typ="at+jwt"))
    assert who.actor.startswith("machine:") and who.may("key.read", "acme") and not who.may("key.create", "acme")
    wrong: list[tuple[int, dict[str, Any]]] = [
        (401, {"aud": CLIENT, "nonce": "x", "groups": ["ops"]}),  # a token of a login is none for a machine
        (401, {"aud": AUDIENCE, "groups": ["ops"], "exp": None}),
        (401, {"aud": AUDIENCE, "groups": ["ops"], "iss": "https://evil.example"}),
        (403, {"aud": AUDIENCE, "groups": []}),
    ]
    for status, claims in wrong:
        with pytest.raises(RequestError) as caught:
            machine(oidc, site.world, provider.signed(provider.person(**{"sub": "ci", **claims})))
        assert caught.value.status == status, claims
    for token in (
        provider.unsigned(provider.person(aud=AUDIENCE)),
        provider.confused(provider.person(aud=AUDIENCE)),
        "a.b.c",
        "..",
        "x" * 20_000,
    ):
        with pytest.raises(RequestError) as caught:
            machine(oidc, site.world, token)
        assert caught.value.status == 401
    key = site.world.key()["key"]
    assert machine(oidc, site.world, key).actor.startswith("key:")


def test_keys_are_read_again_when_it_helps_and_not_more_often(site: Site) -> None:
    clock = [1000.0]
    provider = site.provider
    oidc = Oidc(site.options, now_s=provider.now_s, monotonic_s=lambda: clock[0])
    claims = {"sub": "ci", "aud": AUDIENCE, "groups": ["ops"]}

    def ask(kid: str | None = None) -> bool:
        token = provider.signed(provider.person(**claims), **({"kid": kid} if kid else {}))
        try:
            return bool(asyncio.run(oidc.machine(token)))
        except RequestError:
            return False

    assert ask() and ask() and provider.keys_read == 1
    for number in range(50):
        assert not ask(f"made-up-{number}")
    assert provider.keys_read == 1  # within the minute
    clock[0] += UNKNOWN_KEY_WAIT_S + 1
    assert not ask("made-up") and not ask("made-up") and provider.keys_read == 2
    provider.rotate("two")
    assert not ask()
    clock[0] += UNKNOWN_KEY_WAIT_S + 1
    assert ask() and provider.keys_read == 3
    clock[0] += KEYS_MAX_AGE_S + 1
    provider.away = True
    assert ask() and ask() and provider.keys_read == 4  # away: yesterday's keys are good
    clock[0] += KEYS_OLDEST_S
    assert not ask()
    provider.away = False
    clock[0] += UNKNOWN_KEY_WAIT_S + 1
    assert ask()


def test_a_provider_that_describes_itself_wrongly_is_not_used(site: Site) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"issuer": "https://evil.example"}, "names another issuer"),
        ({"token_endpoint": "http://evil.example/token"}, "not safe"),
        ({"jwks_uri": "file:///etc/passwd"}, "not safe"),
        ({"authorization_endpoint": 7}, "not safe"),
    ]
    for changes, text in wrong:
        site.provider.metadata_changes = changes
        with pytest.raises(ServeError, match=text):
            asyncio.run(Oidc(site.options, now_s=site.provider.now_s).try_out())


def test_a_provider_that_is_away_is_a_503_with_a_time(site: Site) -> None:
    site.provider.away = True
    answer = site.talk(lambda ours, theirs: ours.get("/admin/login"))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
