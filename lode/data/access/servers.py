"""Connections to databases: one read-only transaction each, and the faults of servers in the words of a user. For the source `sql`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from lode.core import packages
from lode.core.errors import DataError, listed, near_miss
from lode.data.access.accounts import read_account
from lode.data.access.landing import ConnectionLostError
from lode.data.place import Place

_CONNECT_S = 10
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}
_QUERY: dict[str, tuple[str, ...]] = {
    "postgresql": ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs", "application_name"),
    "mysql": ("charset", "unix_socket", "ssl_ca", "ssl_cert", "ssl_key"),
    "mariadb": ("charset", "unix_socket", "ssl_ca", "ssl_cert", "ssl_key"),
    "sqlite": (),
}
"""What may stand after the `?` of a URL; nothing that could be a secret."""
_EXAMPLE = "postgresql://host:5432/db, mysql://host/db, mariadb://host/db or sqlite:///file.db"
_REFUSED = ("password", "authentication", "access denied", "no pg_hba.conf", "role ")
_ENDLESS = ("after year 10K", "before year 1", "can't parse time")
"""What psycopg says of PostgreSQL's infinity, of years before Christ and beyond 9999, and of 24:00:00."""
_UNKNOWN = ("unknown database", "does not exist", "to database")


class Server:
    """One database and who reads it.

    where: the URL without user and password, for messages. identity: the same, and for SQLite the file it leads to. file: of SQLite.
    is_reading: set once rows come; what goes wrong from then on is a lost connection, not a wrong query.
    """

    def __init__(self, place: Place, url: str, user_env: str | None, password_env: str | None, secrets: str | None) -> None:
        self.url = _parsed(url)
        self.kind = self.url.drivername
        self.where = self.url.set(username=None, query={}).render_as_string()
        self.account = read_account(place, self.where, user_env, password_env, secrets)
        self.is_reading = False
        self.file: Path | None = None
        if self.kind == "sqlite":
            self.file = place.resolve(self.url.database or "").resolve()
            self.where = f"sqlite:///{self.url.database}"
        self.identity = f"{self.where} {self.file or ''}".strip()

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection whose transaction reads only and sees one state of the data.

        Errors: DataError in the words of a user; ConnectionLostError where the server goes away while rows come.
        """
        self.is_reading = False
        engine = self._engine()
        try:
            connection = engine.connect()
        except exc.SQLAlchemyError as error:
            raise self._unreachable(error) from error
        try:
            yield connection
        except exc.SQLAlchemyError as error:
            raise self._failed(error) from error
        finally:
            # Never back to the server for the rest of the rows: a cursor that is closed in order would read them all.
            connection.invalidate()
            connection.close()
            engine.dispose()

    def _engine(self) -> sa.Engine:
        options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
        if self.file is not None:
            path = f"file:{quote(str(self.file))}?mode=ro"
            return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(path, uri=True), **options)
        given = self.account
        url = self.url.set(drivername=_DRIVERS[self.kind])
        url = url.set(username=given.user or url.username, password=given.password)
        arguments: dict[str, Any] = {"connect_timeout": _CONNECT_S}
        options["isolation_level"] = "REPEATABLE READ"
        if self.kind == "postgresql":
            options["execution_options"] = {"postgresql_readonly": True}
        else:
            arguments["init_command"] = "SET SESSION TRANSACTION READ ONLY"
        try:
            return sa.create_engine(url, connect_args=arguments, **options)
        except ModuleNotFoundError as error:
            raise packages.missing(self.where, error) from error

    def _told(self, error: exc.SQLAlchemyError) -> str:
        """The driver's own words, one line, without SQL and without the password."""
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        words: tuple[Any, ...] = getattr(cause, "args", ())
        # Some drivers give a number and a text.
        text = str(words[1]) if len(words) == 2 and isinstance(words[0], int) else str(cause)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return self.account.scrub(lines[0] if lines else type(cause).__name__)

    def _unreachable(self, error: exc.SQLAlchemyError) -> DataError:
        told = self._told(error)
        low = told.lower()
        if self.file is not None:
            advice = "Check that the file may be read."
        elif any(word in low for word in _UNKNOWN) and "role " not in low:
            advice = "Check the database at the end of `url`, and that the user may read it."
        elif any(word in low for word in _REFUSED):
            advice = "Check the user and the password (`user_env` and `password_env`, or `secrets`)."
        else:
            advice = "Check host and port in `url`, and that the server runs and can be reached from here."
        return DataError(f"{self.where}: no connection ({told}). {advice}")

    def _failed(self, error: exc.SQLAlchemyError) -> DataError:
        told = self._told(error)
        is_lost = isinstance(error, exc.OperationalError | exc.InterfaceError) and self.kind != "sqlite"
        if is_lost and (self.is_reading or (isinstance(error, exc.DBAPIError) and error.connection_invalidated)):
            return ConnectionLostError(f"{self.where}: the server went away while rows were read ({told}).")
        if any(word in told for word in _ENDLESS):
            return DataError(
                f"{self.where}: a cell holds a moment that is no date ({told}). Read the table by a `query` that says what it means, for "
                "example SELECT NULLIF(valid_to, 'infinity') AS valid_to, ...; or as text: valid_to::text."
            )
        if self.is_reading or "not a database" in told:
            return DataError(f"{self.where}: the rows cannot be read ({told}). Check the data on the server.")
        return DataError(f"{self.where}: the server refuses the query ({told}). Correct it, or ask for the right to read.")


def _parsed(text: str) -> URL:
    """The URL, with nothing secret in it.

    Errors: DataError; the text itself is never repeated, for it may hold a password.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise DataError(f"source sql: `url` is no address of a database. Write {_EXAMPLE}.") from None
    kind = url.drivername
    if kind not in _DRIVERS:
        raise DataError(f'source sql: `url` begins with "{kind}", allowed: {listed(_DRIVERS)}.{near_miss(kind, _DRIVERS)}')
    if url.password is not None:
        raise DataError(
            "source sql: `url` holds a password, which would end in every record of the run. Take it out, put it into an environment "
            "variable, name that in `password_env`, and change the password if lode.yaml was shared."
        )
    for word in url.query:
        if word not in _QUERY[kind]:
            allowed = listed(_QUERY[kind]) or "nothing"
            raise DataError(f'source sql: `url` says "{word}" after its ?, allowed: {allowed}.{near_miss(word, _QUERY[kind])}')
    if not url.database:
        raise DataError(f"source sql: `url` names no database. Write {_EXAMPLE}.")
    return url
