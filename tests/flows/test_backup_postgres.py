"""Books on PostgreSQL: verified, backed up as lines of the journal, rebuilt in another database and in a file (T7)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lode.app.audit import command as audit
from lode.app.backup import command
from lode.app.backup.following import Follower
from lode.app.backup.making import Source
from lode.app.backup.repository import Repository
from lode.app.books.open import open_books
from lode.app.targets.open import open_target
from lode.core.errors import AuditError, BackupError, LodeError
from lode.data.storage.keys import file_key, new_key
from tests.flows.books_server import books_server, new_database
from tests.flows.servers import Server
from tests.unit.app.audit.sample import fill

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with books_server() as running:
        yield running


def test_books_on_postgresql_come_back_in_a_database_and_in_a_file(server: Server, tmp_path: Path) -> None:
    runs, path, target = tmp_path / "runs", tmp_path / "key", str(tmp_path / "target")
    new_key(path)
    location = new_database(server)
    store = open_books(location, runs)
    fill(store, 700)
    checked = audit.check(runs, location, [], None)
    assert checked["entries"] == 760
    repository = Repository(open_target(target), file_key(path, "key"), make=True)
    follower = Follower(Source(runs, store), repository, now_us=lambda: time.time_ns() // 1000)
    follower.start()
    fill(store, 50, first=700)
    assert follower.ship() == 50
    again = command.make(target, path, runs, location)
    assert again["books"]["form"] == "books.journal" and again["new_chunks"] < 5
    store.close()

    there = new_database(server)
    found = command.restore(target, path, tmp_path / "back", check=True, books=there)
    here = command.restore(target, path, tmp_path / "file", check=True)
    assert found["books"]["hash"] == here["books"]["hash"] == again["books"]["hash"]
    assert audit.check(tmp_path / "back", there, [], None)["hash"] == again["books"]["hash"]
    assert audit.check(tmp_path / "file", None, [], None)["entries"] == 810
    with pytest.raises(BackupError, match="holds books already"):
        command.restore(target, path, tmp_path / "third", books=there)

    admin = open_books(there, runs)
    admin.transact(lambda session: session.run("UPDATE usage SET amount = amount + 1 WHERE sequence = 100"))
    admin.close()
    with pytest.raises(AuditError, match="usage, entry 100: the row is not what its entry says"):
        audit.check(runs, there, [], None)


def test_pages_and_indexes_of_postgresql_are_looked_at_or_it_is_said_that_they_were_not(server: Server, tmp_path: Path) -> None:
    location = new_database(server)
    store = open_books(location, tmp_path)
    fill(store, 400)
    store.close()
    assert "pages and indexes were NOT looked at: CREATE EXTENSION amcheck" in audit.check(tmp_path, location, [], None)["compared"]
    with psycopg.connect(location.replace("reader@", "admin@"), autocommit=True) as admin:
        admin.execute("CREATE EXTENSION amcheck")
        admin.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO reader")
        # Else recovery may write a page anew that vacuuming had changed since the checkpoint, and with it mend what is damaged here.
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("VACUUM FREEZE")
        admin.execute("CHECKPOINT")
        paths = [
            row[0]
            for name in ("journal_reference", "usage")
            for row in admin.execute("SELECT pg_relation_filepath(%s::regclass)", (name,)).fetchall()
        ]
    assert audit.check(tmp_path, location, [], None)["compared"].endswith("indexes and tables are whole")
    for path, place, told in ((paths[0], 8192 + 4000, "index"), (paths[1], 30, "usage")):
        file = server.folder / "data" / path
        server.kill()
        content = file.read_bytes()
        changed = bytearray(content)
        changed[place : place + 64] = b"\xee" * 64
        file.write_bytes(changed)
        server.start()
        with pytest.raises(LodeError) as found:
            audit.check(tmp_path, location, [], None)
        assert told in str(found.value) or "damaged" in str(found.value)
        server.kill()
        file.write_bytes(content)
        server.start()
    audit.check(tmp_path, location, [], None)
