"""Access on PostgreSQL: the same verbs, the same snapshot, the same refusals as on SQLite."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lode.app.access import keys, sessions
from lode.app.access.credentials import hmac_of
from lode.app.access.identities import Identity
from lode.app.books.open import open_books
from lode.app.contracts import RequestError
from lode.core.errors import ConflictError
from tests.flows.books_server import books_server, new_database
from tests.unit.app.access.world import World

pytestmark = pytest.mark.servers


def test_access_on_postgresql(tmp_path: Path) -> None:
    with books_server() as server:
        location = new_database(server)
        world = World(tmp_path, open_books(location, tmp_path))
        other = open_books(location, tmp_path)  # another process
        world.customer(credit_line="12.5")
        made = world.key(expires="90d")
        with other.view() as session:
            directory = world.directory().newer(session)
        assert directory.caller(hmac_of(world.pepper, made["key"]), world.time_us).credit_line == 12_500_000_000_000
        world.limit(f"key/{made['id']}", "50 EUR/month")
        second = world.rotate(made["id"], "1h")
        with other.view() as session:
            directory = directory.newer(session)
        caller = directory.caller(hmac_of(world.pepper, second["key"]), world.time_us)
        assert caller.limits[0].amount == 50_000_000_000_000 and caller.key == made["id"]
        keys.revoke(other, "cli", "acme", made["id"], now_us=world.now_us)
        for key in (made["key"], second["key"]):
            with pytest.raises(RequestError):
                world.call(f"Bearer {key}")
        _once(world)
        other.close()
        world.store.close()


def _once(world: World) -> None:
    """Of eight at the same time, one gets the short name, and one the login."""
    world.user(email="jo@acme.example", organisation="acme", role="viewer")
    done: list[str] = []

    def add() -> None:
        try:
            world.customer("other")
            done.append("customer")
        except ConflictError:
            done.append("exists")
        try:
            jo = Identity("https://id.example", "jo-1", "jo@acme.example")
            sessions.open_session(world.store, jo, reference="login/x", replaces="", hours=1, now_us=world.now_us)
            done.append("login")
        except RequestError as error:
            assert error.status == 401
            done.append("used")

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["customer"] + ["exists"] * 7 + ["login"] + ["used"] * 7
