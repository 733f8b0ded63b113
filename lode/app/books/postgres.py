"""The books in a PostgreSQL database (13 or newer): writers take turns on the row `head`, readers see one snapshot.

The password comes from libpq (PGPASSWORD, PGPASSFILE, ~/.pgpass), never from the address, and is in no message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from lode.app.books import schema
from lode.app.books.contracts import Session, Store, T
from lode.core.errors import BooksError

_MAX_IDLE = 4
"""Readers that are kept open for the next view."""
_RETRY_S = 5
_NETWORK = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
    "application_name": "lode",
}  # fmt: skip
# A writer that hangs must not stop the others for ever; what is acknowledged is on the disk, whatever the server's default.
_SETTINGS = """SELECT set_config('lock_timeout', '10s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
    set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
    ELSE current_setting('synchronous_commit') END, false)"""
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_MY_TURN = "SELECT pg_current_xact_id()::text FROM head FOR UPDATE"
_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT sequence FROM head"
_EXACT_SUM = "CREATE AGGREGATE exact_sum(numeric) (SFUNC = numeric_add, STYPE = numeric)"
_VERSIONS = "CREATE TABLE lode_schema (version INTEGER NOT NULL, migrated_at TIMESTAMPTZ NOT NULL DEFAULT now())"
# Of the extension amcheck: what is there of it and this user may call; the second came with PostgreSQL 14.
_CHECKS = (
    (
        "bt_index_check(regclass, boolean)", "indexes",
        """SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'btree' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1""",
        "SELECT bt_index_check(?::regclass, true)::text",
    ),
    (
        "verify_heapam(regclass, boolean, boolean, text, bigint, bigint)", "tables",
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1",
        "SELECT 'page ' || blkno || ': ' || msg FROM verify_heapam(?::regclass) LIMIT 5",
    ),
)  # fmt: skip
_NOT_LOOKED = "pages and indexes were NOT looked at: CREATE EXTENSION amcheck, and let this user call its functions"
# InternalError_: what the server says where it stumbles over a damaged row ("MultiXactId ... has not been created yet").
_DAMAGED = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.errors.InternalError_)
_REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidPassword, psycopg.errors.InvalidCatalogName)


class _Number(Loader):
    """NUMERIC as int, as SQLite gives sums of whole numbers; what has a fraction (an average) as Decimal."""

    def load(self, data: Buffer) -> int | Decimal:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)


@lru_cache(maxsize=1024)
def _in_postgres(sql: str) -> bytes:
    # Letters in the order of their bytes, as SQLite has them: a database's own order depends on its locale.
    return sql.replace("%", "%%").replace("?", "%s").replace("COLLATE BINARY", 'COLLATE "C"').encode()


class PostgresSession(Session):
    """A connection in a transaction."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]):
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(_in_postgres(sql), values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(_in_postgres(sql), values).rowcount

    def run_many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_in_postgres(sql), values)

    def storage(self) -> tuple[list[str], str]:
        wrong = [
            f"{name} is off: a power cut may lose what was acknowledged or damage the books. Set {name} = on."
            for (name,) in self.rows("SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'")
        ]
        looked = []
        for function, what, query, check in _CHECKS:
            if self.rows(f"SELECT has_function_privilege(to_regprocedure('{function}'), 'EXECUTE')") == [(True,)]:
                looked.append(what)
                for (name,) in self.rows(query):
                    try:
                        wrong += [f"{name}: {message}" for (message,) in self.rows(check, (name,)) if message]
                    except _DAMAGED as error:  # and this transaction can read nothing more
                        return [*wrong, f"{name}: {_first(error)}"], ""
        return wrong, f"{' and '.join(looked)} are whole" if looked else _NOT_LOOKED


class PostgresStore(Store):
    """One database, made for it. address: postgresql://USER@HOST:PORT/DATABASE, without a password."""

    def __init__(self, address: str):
        self.where = _shown(address)
        self._address = address
        self._lock = threading.Lock()
        self._owner = 0  # the thread that is in `transact`
        self._writer: psycopg.Connection[tuple[Any, ...]] | None = None
        self._idle: list[psycopg.Connection[tuple[Any, ...]]] = []
        with self._lock, self._told():
            self._writing()

    def transact(self, work: Callable[[Session], T]) -> T:
        assert self._owner != threading.get_ident(), "a transaction within a transaction"
        with self._lock, self._told():
            self._owner = threading.get_ident()
            try:
                return self._transact(work)
            finally:
                self._owner = 0

    def _transact(self, work: Callable[[Session], T]) -> T:
        writer, transaction = self._begun()
        with ExitStack() as undo:
            undo.callback(self._roll_back, writer)
            result = work(PostgresSession(writer))
            undo.pop_all()
        try:
            writer.execute("COMMIT")
        except psycopg.OperationalError as error:
            self._drop()
            self._settle_doubt(transaction, error)
        return result

    def _roll_back(self, writer: psycopg.Connection[tuple[Any, ...]]) -> None:
        with suppress(psycopg.Error):
            writer.execute("ROLLBACK")
        if writer.closed:
            self._drop()

    def _begun(self) -> tuple[psycopg.Connection[tuple[Any, ...]], str]:
        """The writer, in a transaction that no other shares; its id. A server that was restarted meanwhile costs one more try."""
        for attempt in (1, 2):
            writer = self._writing()
            try:
                writer.execute(_BEGIN)
                found = writer.execute(_MY_TURN).fetchall()
            except psycopg.OperationalError:
                with suppress(psycopg.Error):
                    writer.execute("ROLLBACK")
                if not writer.closed or attempt == 2:
                    raise
                self._drop()
            else:
                return writer, str(found[0][0])
        raise AssertionError("unreachable")

    def _settle_doubt(self, transaction: str, error: psycopg.Error) -> None:
        """The connection broke while it committed. Returns if the transaction is in the books; BooksError if it is not, or nobody knows."""
        status = None
        for _ in range(5):
            row = self._writing().execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
            status = row[0] if row else None
            if status == "committed":
                return
            if status == "aborted":
                break
            time.sleep(0.2)
        raise BooksError(f"{self.where}: the connection broke ({_first(error)}). Ask again with the same id.", _RETRY_S)

    @contextmanager
    def view(self) -> Iterator[Session]:
        with self._told(), ExitStack() as undo:
            reader = self._begun_view()
            undo.callback(reader.close)
            yield PostgresSession(reader)
            reader.execute("ROLLBACK")
            undo.pop_all()
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(reader)
        else:
            reader.close()

    def _begun_view(self) -> psycopg.Connection[tuple[Any, ...]]:
        with suppress(IndexError, psycopg.OperationalError):
            kept = self._idle.pop()
            kept.execute(_MOMENT)
            return kept
        reader = self._connected()
        reader.execute(_MOMENT)
        return reader

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        while self._idle:
            self._idle.pop().close()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _writing(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._writer is None or self._writer.closed:
            with ExitStack() as undo:
                connection = self._connected()
                undo.callback(connection.close)
                self._migrate(connection)
                undo.pop_all()
            self._writer = connection
        return self._writer

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(self._address, autocommit=True, **_NETWORK)  # type: ignore[arg-type]
        connection.adapters.register_loader("numeric", _Number)
        connection.execute(_SETTINGS)
        return connection

    def _migrate(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Make the tables or bring them up to date, alone; or refuse a database that is not the books or of a newer lode."""
        if _version(connection) == schema.VERSION:
            return
        try:
            # The lock before the transaction: one that began earlier would not see the tables of a process that was faster.
            connection.execute("SELECT pg_advisory_lock(%s)", (schema.APPLICATION_ID,))
            with connection.transaction():
                self._raise_version(connection, _version(connection))
            connection.execute("SELECT pg_advisory_unlock(%s)", (schema.APPLICATION_ID,))
        except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateFunction) as error:
            raise BooksError(
                f"{self.where}: another program's tables are here ({_first(error)}). Name an empty database."
            ) from None

    def _raise_version(self, connection: psycopg.Connection[tuple[Any, ...]], version: int) -> None:
        if version > schema.VERSION:
            raise BooksError(f"{self.where}: books of version {version}, this lode reads up to {schema.VERSION}. Upgrade lode.")
        if version == 0:
            connection.execute(_EXACT_SUM)
            connection.execute(_VERSIONS)
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                sql = statement.replace("AMOUNT", "NUMERIC(38)").replace("BLOB", "BYTEA").replace("KEYED", "")
                connection.execute(sql.encode())
        if version < schema.VERSION:  # another process may have been faster
            connection.execute("INSERT INTO lode_schema (version) VALUES (%s)", (schema.VERSION,))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """PostgreSQL's errors in our words."""
        try:
            yield
        except _DAMAGED as error:
            raise BooksError(
                f"{self.where}: the books are damaged ({_first(error)}). Restore them from the server's backup."
            ) from None
        except _REFUSED as error:
            hint = "Check user, database and password (PGPASSWORD or ~/.pgpass); the user needs CREATE in the schema."
            raise BooksError(f"{self.where}: refused ({_first(error)}). {hint}") from None
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, psycopg.InterfaceError) as error:
            raise BooksError(
                f"{self.where}: cannot be used now ({_first(error)}). Nothing was acknowledged; try again.", _RETRY_S
            ) from None


def _version(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """0 where there are no tables of ours."""
    known = connection.execute("SELECT to_regclass('lode_schema')").fetchone()
    if known is None or known[0] is None:
        return 0
    found = connection.execute("SELECT max(version) FROM lode_schema").fetchone()
    return int(found[0] or 0) if found else 0


def _shown(address: str) -> str:
    """The address for messages. Errors: BooksError where it holds a password or names no database."""
    parts = urlsplit(address)
    if parts.password is not None or any(name in ("password", "sslpassword") for name, _ in parse_qsl(parts.query)):
        where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        raise BooksError(f"{where}: found a password in the address, allowed: none. Put it into PGPASSWORD or ~/.pgpass.")
    if len(parts.path) < 2:
        raise BooksError(f"{address}: found no database, wanted postgresql://USER@HOST:PORT/DATABASE. Name one.")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _first(error: BaseException) -> str:
    """The first line of what the server or libpq says."""
    return str(error).strip().split("\n")[0]
