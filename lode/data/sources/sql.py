"""Databases: SQLite, PostgreSQL, MySQL and MariaDB, read once through a cursor on the server; the rows land on disk.

Read lode/data/access/landing.py first: parts, positions, what a killed read leaves. Connections are made by lode/data/access/servers.py.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import polars as pl
import sqlalchemy as sa
from sqlalchemy import exc

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName, FilePath, Range
from lode.data.access import servers, typed_rows
from lode.data.access.landing import Batch, Feed, Landing, land
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place

_ATTACH = 24
"""SQLITE_ATTACH, which has no name in Python 3.11."""
_FETCH_ROWS = 1000
"""Rows asked for in one round trip; so many are in memory before their size is known."""
_FIRST_ROWS = 4
"""Rows of the first round trip of a batch, which show how large they are: a thousand photographs are gigabytes."""
_MAX_BATCH_BYTES = 1 << 26
_POSITIONS: Mapping[str, tuple[type, Any]] = {
    "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat),
    "int": (int, int),
    "decimal": (Decimal, Decimal),
    "uuid": (UUID, UUID),
    "str": (str, str),
}
"""Kinds of a column to read in order of; the first that fits."""


class Sql(Source):
    """A table or a query of SQLite, PostgreSQL, MySQL or MariaDB. Columns keep their types; a killed read goes on where it stopped.

    Args:
        url: `postgresql://host:5432/db`, `mysql://host/db`, `mariadb://host/db` or `sqlite:///file.db` (a path relative to lode.yaml or
            to `--data DIR`). Never with a password.
        table: the table or view, all of it; `schema.table` where needed.
        query: a SELECT instead of a table.
        parameters: values for the `:names` of the query; sent apart from it, so they can never become SQL.
        columns: only these columns.
        order_by: a column without doubles and gaps, in whose order rows are read, so that a killed read goes on where it stopped.
            Default: the table's primary key, where that is one column.
        version: a quick query whose one answer changes whenever the rows do (`SELECT max(updated) FROM orders`); while it stays,
            nothing is read again. For SQLite the file itself tells.
        refresh: `always` reads again in every run that cannot tell that nothing changed; `never` keeps what was read once.
        user_env: the environment variable that holds the user's name.
        password_env: the environment variable that holds the password.
        secrets: a JSON file with `user` and `password` that only you may read, instead of environment variables.
        batch_rows: rows per part: what is in memory at a time, and what a killed read loses at most.
    """

    def __init__(
        self,
        place: Place,
        *,
        url: str,
        table: str | None = None,
        query: str | None = None,
        parameters: dict[str, Any] | None = None,
        columns: list[str] | None = None,
        order_by: ColumnName | None = None,
        version: str | None = None,
        refresh: Literal["always", "never"] = "always",
        user_env: str | None = None,
        password_env: str | None = None,
        secrets: FilePath | None = None,
        batch_rows: Annotated[int, Range(1, 1_000_000)] = 50_000,
    ) -> None:
        self.place, self.table, self.parameters, self.columns = place, table, parameters or {}, columns
        self.query = None if query is None else query.strip().rstrip(";")
        self.order_by, self.version, self.refresh, self.batch_rows = order_by, version, refresh, batch_rows
        self.notes: Sequence[str] = ()
        self.server = servers.Server(place, url, user_env, password_env, secrets)
        self.name = f"{self.server.where} {table or 'query'}"
        self._check_options()

    def _check_options(self) -> None:
        if (self.table is None) == (self.query is None):
            found = "neither" if self.table is None else "both"
            raise DataError(f"{self.server.where}: found {found} of `table` and `query`, exactly one is allowed.")
        if self.query is None and self.parameters:
            raise DataError(f"{self.server.where}: `parameters` are for a `query`, found a `table`. Leave one out.")
        if self.query is not None:
            # An unknown name is told now, with its near miss, not by the server in its own words.
            wanted = set(sa.text(self.query).compile().params)
            for name in [*wanted, *self.parameters]:
                if name not in self.parameters:
                    near = near_miss(name, self.parameters)
                    raise DataError(
                        f"{self.name}: the query asks for :{name}, which `parameters` does not have.{near} "
                        "Write \\: where a colon is just a colon."
                    )
                if name not in wanted:
                    raise DataError(f'{self.name}: parameter "{name}" is not in the query.{near_miss(name, wanted)}')

    def fingerprint(self) -> str:
        return self._landing().sha256

    def scan(self) -> pl.LazyFrame:
        return self._landing().scan()

    def _landing(self) -> Landing:
        key = {
            "source": "sql", "server": self.server.identity, "table": self.table, "query": self.query, "parameters": self.parameters,
            "columns": self.columns, "order_by": self.order_by, "batch_rows": self.batch_rows,
        }  # fmt: skip
        can_tell = self.version is not None or self.server.file is not None
        advice = "Name a column without doubles in `order_by`, and a read that stops goes on where it was."
        landed = land(
            self.place, Feed(self.name, key, self._read, self._version if can_tell else None, self.refresh == "never", advice)
        )
        self.notes, self.num_bytes = landed.notes, landed.num_bytes
        return landed

    def _version(self) -> str:
        """What changes whenever the rows do."""
        if self.version is None:
            assert self.server.file is not None
            found = [self.server.file, self.server.file.with_name(f"{self.server.file.name}-wal")]
            return hashlib.sha256("".join(files.sha256_of(path) for path in found if path.is_file()).encode()).hexdigest()
        with self._connect() as connection:
            row = connection.execute(sa.text(self.version)).first()
        if row is None or len(row) != 1:
            raise DataError(f"{self.name}: `version` must give one row with one cell. Use max(...) or count(*).")
        return str(row[0])

    def _read(self, position: Any) -> Iterator[Batch]:
        """The rows after a position, in batches that depend on the rows alone."""
        with self._connect() as connection:
            order_by, is_named = self._order(connection)
            statement = self._statement(connection, order_by, _restored(position))
            result = connection.execution_options(stream_results=True, max_row_buffer=_FETCH_ROWS).execute(statement)
            if not result.returns_rows:
                raise DataError(f"{self.name}: the query gives no table. Write a SELECT.")
            names = tuple(result.keys())
            self._check_names(names, order_by)
            keys = _Keys(self.name, order_by, names.index(order_by), is_named) if order_by else None
            rows = self._fetched(result)
            if rows and keys is not None and is_named and isinstance(rows[0][keys.index], str) and position is None:
                self._check_distinct(keys)
            self.server.is_reading = True
            while rows:
                yield self._batch(names, rows, keys)
                rows = self._fetched(result)

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        """A connection that reads, and with which a query cannot make files either."""
        with self.server.connect() as connection:
            plain: Any = connection.connection.dbapi_connection
            if isinstance(plain, sqlite3.Connection):
                plain.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == _ATTACH else sqlite3.SQLITE_OK)
            try:
                yield connection
            except exc.OperationalError as error:
                if "decode to UTF-8" not in str(error.orig):
                    raise
                told = str(error.orig).partition(" with text")[0]
                raise DataError(
                    f"{self.name}: a text is not UTF-8 ({told}). Read the column by a `query` as bytes: "
                    "SELECT CAST(name AS BLOB) AS name, ..."
                ) from error

    def _check_distinct(self, keys: _Keys) -> None:
        """Ask the server itself whether texts are different: it may take a and A for equal, and leave one out when it goes on.

        Errors: DataError.
        """
        if self.server.kind == "postgresql":
            return  # compares byte by byte
        with self.server.connect() as connection:
            column: sa.ColumnClause[Any] = sa.column(keys.column)
            doubles = sa.select(sa.func.count(column) - sa.func.count(sa.distinct(column))).select_from(self._relation(connection))
            if connection.execute(doubles).scalar_one():
                raise keys.unfit("holds texts that the server takes for equal")

    def _fetched(self, result: sa.CursorResult[Any]) -> list[Sequence[Any]]:
        """At most `batch_rows` rows, fewer where they are large.

        Errors: DataError for a cell that would have to be held in memory several times.
        """
        rows: list[Sequence[Any]] = []
        num_bytes, wanted = 0, _FIRST_ROWS
        while len(rows) < self.batch_rows and num_bytes < _MAX_BATCH_BYTES:
            more = result.fetchmany(min(wanted, self.batch_rows - len(rows)))
            if not more:
                break
            rows += more
            sizes = [len(cell) for row in more for cell in row if isinstance(cell, str | bytes)]
            if max(sizes, default=0) > files.MAX_LINE_BYTES:
                raise DataError(
                    f"{self.name}: a cell holds {max(sizes) >> 20:,} MiB, at most {files.MAX_LINE_BYTES >> 20} are allowed. Leave it out "
                    "with `columns` or a `query`, or keep it in files."
                )
            num_bytes += sum(sizes)
            wanted = max(1, min(_FETCH_ROWS, (_MAX_BATCH_BYTES - num_bytes) * len(rows) // max(1, num_bytes)))
        return rows

    def _batch(self, names: Sequence[str], rows: Sequence[Sequence[Any]], keys: _Keys | None) -> Batch:
        frame, notes = typed_rows.frame_of(names, rows)
        position = keys.after(rows) if keys else None
        return Batch(frame if self.columns is None else frame.select(self.columns), position, notes)

    def _order(self, connection: sa.Connection) -> tuple[str | None, bool]:
        """The column to read in order of, and whether the file names it."""
        if self.table is None:
            return self.order_by, True
        schema, table = self._table(connection)
        if self.order_by is not None:
            return self.order_by, True
        try:
            key = sa.inspect(connection).get_pk_constraint(table, schema)["constrained_columns"]
        except exc.NoSuchTableError:
            return None, False  # SQLite finds "Orders" as "orders", but not its key
        return (key[0] if len(key) == 1 else None), False

    def _table(self, connection: sa.Connection) -> tuple[str | None, str]:
        """Schema and name of the table.

        Errors: DataError naming the tables that there are.
        """
        assert self.table is not None
        inspector = sa.inspect(connection)
        schema, _, name = self.table.rpartition(".")
        for found in ((None, self.table), (schema or None, name)):
            if inspector.has_table(found[1], found[0]):
                return found
        known = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
        raise DataError(
            f'{self.server.where}: no table "{self.table}", there is {listed(known) or "none"}.{near_miss(self.table, known)}'
        )

    def _statement(self, connection: sa.Connection, order_by: str | None, position: Any) -> sa.Executable:
        """SELECT ... FROM table or (query) [WHERE order_by > :position] [ORDER BY order_by]; names quoted by SQLAlchemy."""
        wanted = None if self.columns is None else list(dict.fromkeys([*self.columns, *([order_by] if order_by else [])]))
        chosen: list[Any] = [sa.text("*")] if wanted is None else [sa.column(name) for name in wanted]
        if self.table is not None:
            self._check_names(tuple(self._probe(connection)), order_by)
        elif wanted is None and order_by is None:
            return sa.text(self.query or "").bindparams(*self._parameters())  # an ORDER BY of its own holds
        statement = sa.select(*chosen).select_from(self._relation(connection))
        if order_by is None:
            return statement
        if position is not None:
            statement = statement.where(sa.column(order_by) > _bound("lode_position", position))
        return statement.order_by(sa.column(order_by))

    def _relation(self, connection: sa.Connection) -> Any:
        """What stands behind FROM."""
        if self.table is not None:
            schema, table = self._table(connection)
            return sa.table(table, schema=schema)
        # A line of its own: the query may end in a comment.
        return sa.text(f"(\n{self.query}\n) AS lode_rows").bindparams(*self._parameters())

    def _parameters(self) -> list[sa.BindParameter[Any]]:
        return [_bound(name, value) for name, value in self.parameters.items()]

    def _probe(self, connection: sa.Connection) -> Sequence[str]:
        """Names of the table's columns."""
        return list(connection.execute(sa.select(sa.text("*")).select_from(self._relation(connection)).where(sa.false())).keys())

    def _check_names(self, names: Sequence[str], order_by: str | None) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f'{self.name}: gives the column "{twice[0]}" {names.count(twice[0])} times. Name them apart with AS.')
        for option, asked in (("columns", self.columns or []), ("order_by", [order_by] if order_by else [])):
            for name in asked:
                if name not in names:
                    raise DataError(f'{self.name}: {option} names "{name}", found {listed(names)}.{near_miss(name, names)}')


class _Keys:
    """The cells of the `order_by` column as positions. is_named: the file asks for it, so what does not fit is an error."""

    def __init__(self, name: str, column: str, index: int, is_named: bool) -> None:
        self.name, self.column, self.index, self.is_named = name, column, index, is_named
        self._last: Any = None

    def after(self, rows: Sequence[Sequence[Any]]) -> list[str] | None:
        """The position after these rows; None where the column's kind cannot be one.

        Errors: DataError where the column has gaps or doubles: a read could not go on exactly.
        """
        cells = [row[self.index] for row in rows]
        previous, self._last = self._last, cells[-1]
        if None in cells:
            raise self.unfit("has empty cells")
        if cells[0] == previous or len(set(cells)) < len(cells):
            twice = previous if cells[0] == previous else Counter(cells).most_common(1)[0][0]
            raise self.unfit(f'holds "{twice}" more than once')
        found = _stored(self._last)
        if found is None and self.is_named:
            raise self.unfit(f"holds {type(self._last).__name__}, allowed: whole numbers, decimals, text, dates, uuids")
        return found

    def unfit(self, what: str) -> DataError:
        advice = "Name another column" if self.is_named else "Name a column in `order_by`"
        return DataError(
            f'{self.name}: the column "{self.column}", in whose order rows are read, {what}. {advice} without doubles.'
        )


def _stored(cell: Any) -> list[str] | None:
    for word, (kind, _) in _POSITIONS.items():
        if isinstance(cell, kind):
            return [word, cell.isoformat() if isinstance(cell, date) else str(cell)]
    return None


def _restored(position: list[str] | None) -> Any:
    return None if position is None else _POSITIONS[position[0]][1](position[1])


def _bound(name: str, value: Any) -> sa.BindParameter[Any]:
    """A value that travels apart from the SQL. No type is claimed for it: the server takes the column's."""
    plain = float(value) if isinstance(value, float) else value
    return sa.bindparam(name, plain, type_=sa.types.NullType(), expanding=isinstance(plain, list))
