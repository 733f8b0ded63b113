"""What somebody tries who wants in: keys that come back, names that look alike, guesses at once, things that are no text."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from lode.app.access import checks, keys, members, sessions
from lode.app.access.authentication import Authenticator
from lode.app.access.identities import Identity
from lode.app.access.ldap import Person, PersonDirectory
from lode.app.access.login import Failures, Login
from lode.app.access.options import Access, LdapOptions
from lode.app.contracts import RequestError
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.access.world import World

FOREIGN = "a key that was made elsewhere, 43 characters"
DEEP = orjson.loads("[" * 1000 + "]" * 1000)
OPTIONS = LdapOptions(address="ldaps://x", base="o=x", ca_file="-", bind_dn="cn=x", bind_password_file="-")


def own(world: World, key: str = FOREIGN, slug: str = "acme") -> dict[str, Any]:
    return keys.create(world.store, "cli", slug, {}, world.pepper, now_us=world.now_us, key=key)


def test_a_revoked_key_of_a_file_does_not_come_back_with_the_next_start(world: World) -> None:
    world.customer()
    world.customer("other")
    made = own(world)
    assert own(world)["id"] == made["id"]  # two processes that start together make one key
    with pytest.raises(ConflictError, match="another organisation"):
        own(world, slug="other")
    keys.revoke(world.store, "cli", "acme", made["id"], now_us=world.now_us)
    with pytest.raises(ConflictError, match="revoked or replaced"):
        own(world)
    second = own(world, FOREIGN + "2")
    world.rotate(second["id"], "0s")
    with pytest.raises(ConflictError, match="revoked or replaced"):
        own(world, FOREIGN + "2")


def test_addresses_that_only_look_alike_are_two_people(world: World) -> None:
    world.customer()
    world.user(email="sam@acme.example", organisation="acme", role="owner")
    for email in ("\u017fam@acme.example", "sam@a\u0441me.example", "SAM\u200b@acme.example"):
        thief = Identity("https://idp.example", f"sub {email}", email)
        with pytest.raises(RequestError) as caught:
            sessions.open_session(world.store, thief, reference="", replaces="", hours=1, now_us=world.now_us)
        assert caught.value.status == 403
    sam = Identity("https://idp.example", "sam-1", "Sam@ACME.example")
    assert sessions.open_session(world.store, sam, reference="", replaces="", hours=1, now_us=world.now_us)


def test_all_sessions_of_a_person_end_at_once_and_stay_ended(world: World) -> None:
    world.customer()
    id = world.user(email="jo@acme.example", organisation="acme", role="admin")["id"]
    jo = Identity("https://idp.example", "jo-1", "jo@acme.example")

    def login() -> str:
        return sessions.open_session(world.store, jo, reference="", replaces="", hours=8, now_us=world.now_us)

    def is_in(token: str) -> bool:
        with world.store.view() as session:
            try:
                return bool(sessions.signed_in(session, token, world.now_us()))
            except RequestError:
                return False

    for words in (("end",), ("refuse", "allow"), ("forget",)):
        first, second = login(), login()
        assert is_in(first) and is_in(second)
        for word in words:
            world.user(id=id, login=word)
        assert not is_in(first) and not is_in(second), words
    assert is_in(login())
    assert "logins" not in world.user(id=id, name="Jo", login="end")


def test_cookies_of_others_do_not_hide_ours() -> None:
    header = b'a={"x": [1, 2]}; b="\\"; lode_session=abc; lode_session=def; c'
    assert sessions.cookie_in(header, "lode_session") == "abc"
    assert sessions.cookie_in(b"xlode_session=1", "lode_session") == sessions.cookie_in(b"lode_session=\xff", "lode_session") == ""


class Slow(PersonDirectory):
    """Says no to every password, but takes its time. asked: how often."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    def connect(self) -> None: ...

    def authenticate(self, name: str, password: str) -> Person | None:
        self.asked += 1
        if self.is_away:
            raise RequestError(503, "ldap", "away")
        return None

    def groups(self, person: Person) -> tuple[str, ...]:
        return ()


def test_a_hundred_guesses_at_once_are_five(tmp_path: Path) -> None:
    world, server = World(tmp_path), Slow()
    gate = Authenticator(world.store, world.directory, world.pepper, world.now_us)
    app = Starlette(routes=Login(Access(ldap=OPTIONS), gate, server).routes())

    async def main() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://lode.example") as browser:
            names = ["jo", " JO", "j\u00ado", "jo ", "\uff4ao"]  # the directory takes them all for one
            posts = [browser.post("/admin/login", json={"name": names[n % 5], "password": f"{n}"}) for n in range(40)]
            found = sorted(answer.status_code for answer in await asyncio.gather(*posts))
            server.is_away = True
            away = [await browser.post("/admin/login", json={"name": "al", "password": "x"}) for _ in range(7)]
            assert {answer.status_code for answer in away} == {503}  # nobody's guess was wrong
        return found

    assert asyncio.run(main()) == [401] * 5 + [429] * 35
    assert server.asked == 5 + 7
    world.store.close()


def test_many_names_at_once_neither_fill_the_memory_nor_make_one_forgotten() -> None:
    clock = [0]
    failures = Failures(lambda: clock[0])
    for _ in range(5):
        failures.add("jo")
    refused = 0
    for number in range(2000):
        try:
            failures.add(f"name {number}")
        except RequestError as error:
            refused += error.status == 429
    assert (len(failures._times), refused) == (1000, 1001)
    with pytest.raises(RequestError, match="too many wrong passwords"):
        failures.add("jo")  # who has guessed five times has not won five more
    clock[0] += 301 * 1_000_000
    failures.add("jo")
    failures.add("somebody new")
    for number in range(3000):
        failures.add(f"right {number}")
        failures.forgive(f"right {number}")
    assert len(failures._times) <= 1000


def test_logins_that_wait_for_a_slow_directory_are_bounded(tmp_path: Path) -> None:
    world, release = World(tmp_path), threading.Event()

    class Hanging(Slow):
        def authenticate(self, name: str, password: str) -> Person | None:
            release.wait(20)
            return None

    gate = Authenticator(world.store, world.directory, world.pepper, world.now_us)
    app = Starlette(routes=Login(Access(ldap=OPTIONS), gate, Hanging()).routes())

    async def main() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://lode.example") as browser:
            posts = [asyncio.create_task(browser.post("/admin/login", json={"name": f"n{n}", "password": "x"})) for n in range(70)]
            while sum(task.done() for task in posts) < 6:
                await asyncio.sleep(0.01)
            release.set()
            return sorted(answer.status_code for answer in await asyncio.gather(*posts))

    assert asyncio.run(main()) == [401] * 64 + [429] * 6
    world.store.close()


@pytest.mark.parametrize("value", [[], {}, DEEP, 5, True, "x" * 100_000, "\udcff", float("nan")])
def test_what_is_no_text_is_told_not_stumbled_over(world: World, value: Any) -> None:
    world.customer()
    for verb in (
        lambda: checks.country(value),
        lambda: checks.one_of(value, ("a", "b"), "x"),
        lambda: checks.zone(value),
        lambda: checks.slug(value),
        lambda: checks.models(value),
        lambda: checks.email(value),
        lambda: keys.organisation_of(world.store, value),
        lambda: world.limit(f"key/{value}" if isinstance(value, str) else value),
        lambda: members.set_user(world.store, "cli", {"id": value, "login": "end"}, now_us=world.now_us),
    ):
        try:
            verb()
        except BillingError as error:
            assert len(str(error)) < 1500
