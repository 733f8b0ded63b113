"""The books in one SQLite file: WAL, `synchronous=FULL`, one writer at a time, readers undisturbed.

Every commit is on the disk before it is told of (sqlite.org/pragma.html#pragma_synchronous). Group commit makes that
cheap: see `lode/app/metering/`.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from lode.app.books import schema
from lode.app.books.contracts import Session, Store, T
from lode.core.errors import BooksError

_BUSY_S = 10.0
_MAX_IDLE = 4
"""Readers that are kept open for the next view; a new one takes 0.2 ms."""
_RETRY_S = 5
# https://www.sqlite.org/rescode.html: what passes by itself (or when somebody makes room), and what does not
_PASSING = {
    "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_PROTOCOL", "SQLITE_CANTOPEN", "SQLITE_READONLY",
    "SQLITE_PERM", "SQLITE_AUTH",
}  # fmt: skip
_BROKEN = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
# page_size: of new books; seven entries fit into a page, where of 4096 bytes three do and the rest is waste.
_WRITER = (
    "page_size=8192", "journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "trusted_schema=OFF", "cache_size=-65536",
    "journal_size_limit=67108864", "temp_store=MEMORY",
)  # fmt: skip
_ENDS = """SELECT head.sequence, head.hash, journal.sequence, journal.hash FROM head
    LEFT JOIN journal ON journal.sequence = (SELECT max(sequence) FROM journal)"""
# What SQLite makes by itself: indexes of keys, which have no text, and what ANALYZE counts. A name alone excuses nothing.
OBJECTS = (
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
    "AND NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4'))"
)
_PORTIONS = (64, 32, 16, 8, 4, 2, 1)
"""Rows of one statement: few different ones, so that they stay prepared; 32,766 values are allowed."""
_ROW = re.compile(r"(?<=\bVALUES )(\([?, ]+\))")
_READER = ("query_only=ON", "trusted_schema=OFF")


class _ExactSum:
    """Adds amounts, which SQLite keeps as text, without rounding and without overflow."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, value: str | int | None) -> None:
        self.total += int(value or 0)

    def finalize(self) -> str:
        return str(self.total)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that exists. Tests hand in one that fails."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )


class SqliteSession(Session):
    """A connection in a transaction."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        # Many rows in one statement: at the end of each one the interpreter's lock is waited for, which takes longer than its rows.
        place = 0
        for count in _PORTIONS:
            while len(values) - place >= count:
                rows = values[place : place + count]
                self._connection.execute(_for_rows(sql, count), list(chain.from_iterable(rows)))
                place += count

    def storage(self) -> tuple[list[str], str]:
        # Not quick_check, which takes half the time and does not compare an index with its table.
        return [str(line) for (line,) in self.rows("PRAGMA integrity_check") if line != "ok"], "the file is whole"


class SqliteStore(Store):
    """One file. path: made where it does not exist; readable by its owner only. connect: opens it."""

    def __init__(self, path: Path, *, connect: Callable[[Path], sqlite3.Connection] = connect):
        self.where = str(path)
        self._path, self._open = path, connect
        self._lock = threading.Lock()
        self._owner = 0  # the thread that is in `transact`
        self._writer: sqlite3.Connection | None = None
        self._file = (0, 0)  # device and inode of the file that the writer has open
        self._idle: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
        except OSError as error:
            raise BooksError(
                f"{path}: the books cannot be made here ({error.strerror}). Name another place with --books."
            ) from None
        with self._lock, self._told():
            self._writing()

    def transact(self, work: Callable[[Session], T]) -> T:
        assert self._owner != threading.get_ident(), "a transaction within a transaction"
        with self._lock, self._told():
            self._owner = threading.get_ident()
            try:
                return self._transact(self._writing(), work)
            finally:
                self._owner = 0

    def _transact(self, writer: sqlite3.Connection, work: Callable[[Session], T]) -> T:
        with ExitStack() as undo:
            undo.push(self._undone)
            writer.execute("BEGIN IMMEDIATE")
            result = work(SqliteSession(writer))
            writer.execute("COMMIT")
        return result

    def _undone(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """After a transaction: roll back one that failed."""
        if error is None or self._writer is None:
            return
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and _base(error) != "SQLITE_BUSY":
            self._drop()  # after a fault of the disk, what this connection remembers is not to be trusted

    @contextmanager
    def view(self) -> Iterator[Session]:
        with self._told(), ExitStack() as undo:
            reader = self._reading()
            undo.callback(reader.close)
            reader.execute("BEGIN")
            reader.execute("SELECT sequence FROM head").fetchall()  # the moment is that of the first read
            yield SqliteSession(reader)
            reader.execute("ROLLBACK")
            undo.pop_all()
        self._keep(reader)

    def close(self) -> None:
        with self._lock:
            self._drop()
            while self._idle:
                self._idle.pop().close()

    def _writing(self) -> sqlite3.Connection:
        """The one connection that writes. The file may have been lost or replaced since; a lost one is not made anew."""
        try:
            found = self._path.stat()
        except OSError as error:
            self._drop()
            raise BooksError(
                f"{self.where}: the books are gone ({error.strerror}). Bring them back with `lode restore`.", _RETRY_S
            ) from None
        if self._writer is not None and self._file != (found.st_dev, found.st_ino):
            self._drop()
        if self._writer is None:
            self._writer = self._connected()
            self._file = (found.st_dev, found.st_ino)
        return self._writer

    def _connected(self) -> sqlite3.Connection:
        connection = self._open(self._path)
        with ExitStack() as undo:
            undo.callback(connection.close)
            connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
            self._known_file(connection)
            for pragma in _WRITER:
                connection.execute(f"PRAGMA {pragma}")
            # What a crash or a failed fsync left in the log becomes visible here, synced or not: it must be on the disk before a request
            # that is asked again is told of it. (https://wiki.postgresql.org/wiki/Fsync_Errors: a later fsync alone proves nothing.)
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._migrate(connection)
            self._whole(connection)
            undo.pop_all()
        return connection

    def _reading(self) -> sqlite3.Connection:
        with suppress(IndexError):  # another thread may be faster
            return self._idle.pop()
        connection = self._open(self._path)
        connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
        for pragma in _READER:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _keep(self, reader: sqlite3.Connection) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(reader)
        else:
            reader.close()

    def _drop(self) -> None:
        while self._idle:  # they may look at a file that is no longer there
            self._idle.pop().close()
        if self._writer is not None:
            with suppress(sqlite3.Error):
                self._writer.close()
        self._writer = None

    def _known_file(self, connection: sqlite3.Connection) -> None:
        """Refuse what is not the books or of a newer lode, before anything is changed in it."""
        version = _one(connection, "PRAGMA user_version")
        if not _one(connection, "SELECT count(*) FROM sqlite_master"):
            return
        if _one(connection, "PRAGMA application_id") != schema.APPLICATION_ID:
            raise BooksError(f"{self.where}: another program's database, not the books of lode. Name another place with --books.")
        if version > schema.VERSION:
            raise BooksError(f"{self.where}: books of version {version}, this lode reads up to {schema.VERSION}. Upgrade lode.")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _one(connection, "PRAGMA user_version") == schema.VERSION:
            return
        connection.execute("BEGIN IMMEDIATE")
        version = _one(connection, "PRAGMA user_version")  # another process may have been faster
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(in_sqlite(statement))
        connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={schema.VERSION}")
        connection.execute("COMMIT")

    def _whole(self, connection: sqlite3.Connection) -> None:
        """Our tables must be there as we made them, and the head be the journal's last row: the cheapest signs of a damaged file."""
        if changed := objects(schema.VERSION) - set(connection.execute(OBJECTS).fetchall()):
            raise self._damaged(f"not as lode made them: {', '.join(sorted(name for _, name, _ in changed))}")
        found = connection.execute(_ENDS).fetchall()  # in one statement: another process may be writing
        if len(found) != 1 or found[0][:2] != (found[0][2] or 0, found[0][3] or schema.FIRST_HASH):
            raise self._damaged(f"head and last entry: {found}")

    def _damaged(self, why: object) -> BooksError:
        return BooksError(
            f"{self.where}: damaged, or not the books at all ({why}). Nothing is answered without a record: keep this file, bring back the "
            "last backup with `lode restore`, or name another place with --books."
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors in our words."""
        try:
            yield
        except UnicodeDecodeError as error:  # of a message that quotes what is damaged
            raise self._damaged(error) from None
        except sqlite3.Error as error:
            base = _base(error)
            # Python's own OperationalError has no name of SQLite's: a text that is no UTF-8.
            if base in _BROKEN or (not base and isinstance(error, sqlite3.OperationalError)):
                raise self._damaged(error) from None
            if base in _PASSING:
                raise BooksError(
                    f"{self.where}: cannot be used now ({error}). Nothing was acknowledged; try again.", _RETRY_S
                ) from None
            raise


@lru_cache(maxsize=256)
def _for_rows(sql: str, count: int) -> str:
    """`INSERT ... VALUES (?, ?) ...` for so many rows."""
    head, row, tail = _ROW.split(sql, maxsplit=1)
    return f"{head}{', '.join([row] * count)}{tail}"


def _base(error: sqlite3.Error) -> str:
    """SQLITE_IOERR_FSYNC -> SQLITE_IOERR."""
    return "_".join((getattr(error, "sqlite_errorname", None) or "").split("_")[:2])


def objects(version: int) -> set[tuple[Any, ...]]:
    """Tables and indexes of books of a version: what `OBJECTS` gives of them. A trigger or a view is none of them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statements in schema.MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(in_sqlite(statement))
        return set(connection.execute(OBJECTS).fetchall())


def in_sqlite(statement: str) -> str:
    """A statement of `schema` in the words of SQLite; nothing where it is PostgreSQL's alone."""
    if 'COLLATE "C"' in statement:
        return ""
    return statement.replace("AMOUNT", "TEXT").replace("BIGINT", "INTEGER").replace("KEYED", "WITHOUT ROWID")


def _one(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
