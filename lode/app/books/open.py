"""Where the books lie: a path of a SQLite file, or the address of a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

from lode.app.books.contracts import Store
from lode.app.books.sqlite import SqliteStore
from lode.core.errors import BooksError
from lode.core.packages import missing

FILE = "books.sqlite"
_SERVERS = ("postgresql", "postgres")


def open_books(location: str | Path | None, runs: Path) -> Store:
    """The books, made where there are none.

    location: a path, `postgresql://USER@HOST:PORT/DATABASE` (the password comes from PGPASSWORD or ~/.pgpass, never from here), or None for
    `books.sqlite` in `runs`. Errors: BooksError.
    """
    if location is None:
        return SqliteStore(runs / FILE)
    scheme, separator, _ = str(location).partition("://")
    if not separator:
        return SqliteStore(Path(location))
    if scheme not in _SERVERS:
        wanted = "a path, or postgresql://USER@HOST:PORT/DATABASE"
        raise BooksError(f'books: found an address that begins "{scheme}://", allowed: {wanted}. Write one of them.')
    try:
        from lode.app.books.postgres import PostgresStore
    except ModuleNotFoundError as error:
        raise missing("books on PostgreSQL", error) from None
    return PostgresStore(str(location))
