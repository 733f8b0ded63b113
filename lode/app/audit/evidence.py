"""The books as they lie there, opened to be looked at only: damaged ones too, and nothing in them is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lode.app.books import schema
from lode.app.books.contracts import Session
from lode.app.books.open import FILE, open_books
from lode.app.books.sqlite import SqliteSession, SqliteStore, in_sqlite
from lode.core.errors import AuditError

# What SQLite makes by itself: indexes of keys, which have no text, and what ANALYZE counts. A name alone excuses nothing.
_TABLES = (
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
    "AND NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4'))"
)


@contextmanager
def evidence(location: str | Path | None, runs: Path) -> Iterator[Session]:
    """One moment of the books. location: as `open_books` takes it. Errors: AuditError where there are none, BooksError."""
    path = Path(location or runs / FILE)
    if "://" in str(location or ""):
        with open_books(location, runs).view() as session:
            yield session
        return
    if not path.is_file():
        raise AuditError(f"{path}: found no books. Name them with --runs DIR or --books LOCATION.")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.DatabaseError as error:
            raise AuditError(f"{path}: cannot be read as books of lode ({error}). {TODO}") from None
        yield SqliteSession(connection)


def storage(session: Session) -> list[str]:
    """What is wrong with the pages, indexes and tables of a SQLite file; PostgreSQL looks after its own (pg_amcheck)."""
    if not isinstance(session, SqliteSession):
        return []
    try:
        found = [str(line) for (line,) in session.rows("PRAGMA integrity_check") if line != "ok"]
        tables = set(session.rows(_TABLES))
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]
    wanted = _wanted()
    others = sorted(f"{kind} {name}" for kind, name, _ in tables ^ wanted)
    return found + [f"{name} is not as lode made it" for name in dict.fromkeys(others)]


def _wanted() -> set[tuple[Any, ...]]:
    """Tables and indexes of new books; a trigger or a view is none of them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statements in schema.MIGRATIONS:
            for statement in statements:
                connection.execute(in_sqlite(statement))
        return set(connection.execute(_TABLES).fetchall())


def store_path(store: object) -> Path | None:
    """The file of books that lie in one."""
    return Path(store.where) if isinstance(store, SqliteStore) else None


TODO = (
    "Keep this file as evidence, restore the last good backup beside it (`lode restore TARGET --to DIR`) and compare from there on."
)
