"""The books on a PostgreSQL that is killed, restarted, taken away or hands out broken connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lode.app.books import journal, schema
from lode.app.books.contracts import Entry, Session
from lode.app.books.open import open_books
from lode.app.books.postgres import PostgresStore
from lode.core.errors import BooksError
from lode.testing.books import assert_whole, opened, settled, written
from tests.flows.books_server import books_server, new_database
from tests.flows.servers import PASSWORD, Server, free_port

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with books_server() as made:
        yield made


def test_a_server_that_was_restarted_is_found_again(server: Server) -> None:
    with opened(new_database(server)) as store:
        written(store, settled(1))
        with store.view():
            pass
        server.kill()
        with pytest.raises(BooksError) as found:
            written(store, settled(2))
        assert found.value.retry_s and PASSWORD not in str(found.value)
        with pytest.raises(BooksError), store.view():
            pass
        server.start()
        written(store, settled(2))
        server.kill()
        server.start()
        assert_whole(store, 2)
        written(store, settled(3))  # the old connection is dead; nothing was lost by asking once more
        assert_whole(store, 3)


def test_a_connection_that_is_cut_in_a_transaction_leaves_nothing(server: Server) -> None:
    location = new_database(server)
    with opened(location) as store, opened(location) as other:

        def work(session: Session) -> list[Any]:
            answers = journal.append(session, [settled(1)], 1)
            [(backend,)] = session.rows("SELECT pg_backend_pid()")
            with other.view() as view:
                view.rows("SELECT pg_terminate_backend(?)", (backend,))
            return answers

        with pytest.raises(BooksError) as found:
            store.transact(work)
        assert found.value.retry_s
        assert_whole(store, 0)
        written(store, settled(1))
        assert_whole(store, 1)


class _Cut:
    """A connection that breaks after its commit was done, before it was told of."""

    def __init__(self, connection: psycopg.Connection[Any]):
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: Any, *values: Any) -> Any:
        result = self._connection.execute(sql, *values)
        if sql == "COMMIT":
            self._connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return result


def test_a_commit_that_nobody_was_told_of_is_looked_up(server: Server) -> None:
    store = opened(new_database(server))
    assert isinstance(store, PostgresStore) and store._writer is not None
    store._writer = _Cut(store._writer)  # type: ignore[assignment]
    [entry] = store.transact(lambda session: journal.append(session, [settled(1)], 1))
    assert isinstance(entry, Entry) and entry.sequence == 1
    assert_whole(store, 1)
    store.close()


def test_nothing_says_the_password_and_no_server_is_a_plain_refusal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for location in (f"postgresql://reader@127.0.0.1:{free_port()}/x", f"postgresql://reader@127.0.0.1:{server.port}/none"):
        with pytest.raises(BooksError) as found:
            opened(location)
        said.append(str(found.value))
    monkeypatch.setenv("PGPASSWORD", "another password")
    with pytest.raises(BooksError, match="authentication failed") as found:
        opened(f"postgresql://reader@127.0.0.1:{server.port}/shop")
    said.append(str(found.value))
    assert not any(PASSWORD in text or "another password" in text for text in said)


def test_another_programs_database_is_refused_and_left_as_it_is(server: Server) -> None:
    location = new_database(server)
    with psycopg.connect(location, autocommit=True) as connection:
        connection.execute("CREATE TABLE usage (what TEXT)")
        with pytest.raises(BooksError, match=r"another program's tables are here .* empty database"):
            opened(location)
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("usage",)]


def test_books_of_a_newer_lode_are_refused(server: Server) -> None:
    location = new_database(server)
    opened(location).close()
    with psycopg.connect(location, autocommit=True) as connection:
        connection.execute("INSERT INTO lode_schema (version) VALUES (99)")
    with pytest.raises(BooksError, match="Upgrade lode"):
        opened(location)


def test_books_of_an_older_lode_are_brought_up_to_date(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    location = new_database(server)
    with opened(location) as store:
        written(store, settled(1))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE added (amount AMOUNT NOT NULL)",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        with opened(location) as store, store.view() as session:
            assert session.rows("SELECT count(*), (SELECT count(*) FROM added) FROM journal") == [(1, 0)]


def test_processes_that_start_at_once_make_the_tables_once(server: Server) -> None:
    location, failed = new_database(server), list[BooksError]()

    def start() -> None:
        try:
            open_books(location, Path()).close()
        except BooksError as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with opened(location) as store:
        assert_whole(store, 0)


def test_a_server_without_fsync_is_reported(server: Server) -> None:
    with opened(new_database(server)) as store:
        server.kill()
        server.command = [word.replace("fsync=on", "fsync=off") for word in server.command]
        server.start()
        assert any("fsync is off" in line for line in store.check())
