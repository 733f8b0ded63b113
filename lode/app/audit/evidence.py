"""The books as they lie there, opened to be looked at only: damaged ones too, and nothing in them is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lode.app.books.contracts import Session
from lode.app.books.open import FILE, open_books
from lode.app.books.sqlite import OBJECTS, SqliteSession, SqliteStore, objects
from lode.core.errors import AuditError


@contextmanager
def evidence(location: str | Path | None, runs: Path) -> Iterator[Session]:
    """One moment of the books. location: as `open_books` takes it. Errors: AuditError where there are none, BooksError."""
    path = Path(location or runs / FILE)
    if "://" in str(location or ""):
        with open_books(location, runs) as store, store.view() as session:
            yield session
        return
    if not path.is_file():
        raise AuditError(f"{path}: found no books. Name them with --runs DIR or --books LOCATION.")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise AuditError(f"{path}: cannot be read as books of lode ({error}). {TODO}") from None
        yield SqliteSession(connection)


def storage(session: Session) -> tuple[list[str], str]:
    """What is wrong with pages, indexes and (in SQLite) the tables' own definitions, in words; and what was looked at."""
    try:
        found, looked = session.storage()
        changed = set[tuple[Any, ...]]()
        if isinstance(session, SqliteSession):
            changed = set(session.rows(OBJECTS)) ^ objects(session.rows("PRAGMA user_version")[0][0])
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)], ""
    others = sorted(f"{kind} {name}" for kind, name, _ in changed)
    return found + [f"{name} is not as lode made it" for name in dict.fromkeys(others)], looked


def store_path(store: object) -> Path | None:
    """The file of books that lie in one."""
    return Path(store.where) if isinstance(store, SqliteStore) else None


TODO = (
    "Keep this file as evidence, restore the last good backup beside it (`lode restore TARGET --to DIR`) and compare from there on."
)
