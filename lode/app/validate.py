"""A request's cells against the model's columns: one pass over good rows, every problem at once for bad ones.

Cells are checked as JSON values here (a list where a number is wanted); what a value means (a word that is no number, a
broken image) is checked by the artifact's own features.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from lode.app.contracts import MAX_PROBLEMS, Cells, Dtype, RequestError
from lode.core.errors import near_miss
from lode.core.types import ColumnSchema, Problem

_DTYPES: Mapping[str, Mapping[type, Dtype]] = {
    "number": {float: "Float64", int: "Float64", str: "String"},
    "string": {str: "String", int: "Int64", float: "Float64", bool: "Boolean"},
    "boolean": {bool: "Boolean", str: "String", int: "Int64", float: "Float64"},
    "datetime": {str: "String"},
    "binary": {str: "Binary"},
    "list": {list: "String", str: "String"},
}
"""JSON type of a cell -> the type of its column, by the kind of the column. What is not listed is a problem."""

_EMPTY: Mapping[str, Dtype] = {"number": "Float64", "binary": "Binary"}
"""The type of a column without a value; String for the other kinds."""

_INT64 = range(-(2**63), 2**63)

_MAX_WORD = 200
"""Longer names are not compared with the model's columns: near misses take time quadratic in the length."""


class Report:
    """The problems of one request: the first MAX_PROBLEMS are kept, all are counted, so a hostile body costs little."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._count = 0

    @property
    def count(self) -> int:
        """How many problems there are."""
        return self._count

    def add(self, row: int | None, column: str | None, found: str, allowed: str) -> None:
        """Note a problem."""
        self._count += 1
        if self._count <= MAX_PROBLEMS:
            self._kept.append(Problem(row, column, found, allowed))

    def unknown(self, row: int | None, names: Iterable[str], allowed: Sequence[str], what: str = "column") -> None:
        """Note names that nobody knows, each with its near miss."""
        for name in names:
            if self._count < MAX_PROBLEMS:
                hint = near_miss(name, allowed) if len(name) <= _MAX_WORD else ""
                self.add(row, short(name), f"unknown {what}.{hint}", _listed(allowed))
            else:
                self._count += 1

    def failure(self) -> RequestError:
        """The answer that says them all, whole-request problems first, then row by row."""
        kept = sorted(self._kept, key=lambda problem: -1 if problem.row is None else problem.row)
        return RequestError.of_problems(kept, self._count)

    def check(self) -> None:
        """Errors: RequestError 422 where there is a problem."""
        if self._count:
            raise self.failure()


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Errors: RequestError 400."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"body: not JSON in UTF-8 ({error}). Send one JSON object.") from None
    if not isinstance(record, dict):
        raise RequestError(400, "invalid_json", f"body: found {describe(record)}, a JSON object is wanted.")
    return record


def check_count(num_rows: int, max_rows: int) -> None:
    """Errors: RequestError 422 for no rows, 413 for more than one request may have."""
    if num_rows == 0:
        raise RequestError.of_problems([Problem(None, None, "no rows", "at least one row")])
    if num_rows > max_rows:
        raise RequestError(
            413,
            "too_many_rows",
            f"{num_rows} rows, at most {max_rows} in one request. Send several requests, or use `lode predict`.",
        )


Unreadable = Callable[[Mapping[str, tuple[list[Any], Dtype]]], Sequence[Problem]]
"""Cells of the right kind that the model still cannot read ("abc" in a number column): column -> (cells, dtype) to problems."""


class Columns:
    """The columns of a request, checked. Made once for a model.

    unreadable: asked about the good columns of a request that is refused anyway, so that one answer says everything.
    ignored: names that a request may have besides, and that are left out.
    """

    def __init__(
        self, schema: Sequence[ColumnSchema], unreadable: Unreadable | None = None, ignored: Collection[str] = frozenset()
    ):
        self.schema = tuple(schema)
        self._unreadable = unreadable
        self.names = tuple(column.name for column in schema)
        self._known = frozenset(self.names)
        self._taken = self._known.union(ignored)
        self._tables = tuple(_DTYPES[column.kind] for column in schema)
        self._empty = tuple(_EMPTY.get(column.kind, "String") for column in schema)
        self._is_settled = tuple(column.kind in ("binary", "list") for column in schema)

    def from_rows(self, rows: Sequence[Any]) -> Cells:
        """Rows of `{column: value}` become columns. Errors: RequestError 422 with every problem."""
        known, names = self._known, self.names
        if all(type(row) is dict and (row.keys() == known or known <= row.keys() <= self._taken) for row in rows):
            return self.from_columns({name: [row[name] for row in rows] for name in names}, len(rows))
        raise self._row_failure(rows)

    def from_columns(self, columns: dict[str, list[Any]], num_rows: int) -> Cells:
        """Columns with exactly the model's names, all of one length. Errors: RequestError 422 with every problem."""
        report, bad = Report(), set[str]()
        dtypes: list[Dtype] = []
        for position, name in enumerate(self.names):
            cells = columns[name]
            # One type in a column is the rule: one look-up. One row is the most frequent request: no set.
            found = type(cells[0]) if num_rows == 1 else _only(set(map(type, cells)))
            dtype = self._tables[position].get(found)
            if dtype is None or dtype == "Int64" or self._is_settled[position]:
                before = report.count
                dtype = self.settle(position, columns, report)
                if report.count > before:
                    bad.add(name)
            dtypes.append(dtype)
        if bad:
            typed = zip(self.names, dtypes, strict=True)
            self._read_also({name: (columns[name], dtype) for name, dtype in typed if name not in bad}, report)
        report.check()
        return Cells(num_rows, columns, tuple(dtypes))

    def check_names(self, names: Sequence[str], report: Report) -> None:
        """Note unknown, missing and repeated names."""
        counts = Counter(names)
        report.unknown(None, (name for name in counts if name not in self._taken), self.names)
        for column in self.schema:
            if column.name not in counts:
                report.add(None, column.name, "the column is missing", _wanted(column))
            elif counts[column.name] > 1:
                report.add(None, column.name, "the column is given twice", "each column once")

    def settle(self, position: int, columns: dict[str, list[Any]], report: Report) -> Dtype:
        """The careful way for the column at `position`: cells of several types, base64, large integers, problems."""
        column, table = self.schema[position], self._tables[position]
        cells = columns[column.name]
        wrong = [row for row, cell in enumerate(cells) if cell is not None and type(cell) not in table]
        for row in wrong:
            report.add(row, column.name, describe(cells[row]), _wanted(column))
        if wrong:
            return "String"
        if column.kind == "binary":
            columns[column.name] = [_decoded(cell, row, column, report) for row, cell in enumerate(cells)]
            return "Binary"
        if column.kind == "list":
            # As JSON, which the features read: lists of any depth travel as text, and requests merge whatever they hold
            columns[column.name] = [_as_text(cell, row, column, report) for row, cell in enumerate(cells)]
            return "String"
        found = {table[type(cell)] for cell in cells if cell is not None}
        if found == {"Int64"} and not all(cell is None or cell in _INT64 for cell in cells):
            found = {"Int64", "String"}
        if len(found) > 1:
            numbers = found == {"Int64", "Float64"}
            columns[column.name] = [None if cell is None else float(cell) if numbers else text_of(cell) for cell in cells]
            return "Float64" if numbers else "String"
        return found.pop() if found else self._empty[position]

    def _row_failure(self, rows: Sequence[Any]) -> RequestError:
        """Everything that is wrong with rows of which one at least has other keys than the model's columns."""
        report = Report()
        good = [number for number, row in enumerate(rows) if type(row) is dict]
        nowhere = {name for name in self.names if good and not any(name in rows[number] for number in good)}
        for column in self.schema:
            if column.name in nowhere:
                report.add(None, column.name, "the column is missing", _wanted(column))
        for number, row in enumerate(rows):
            if type(row) is dict:
                report.unknown(number, (name for name in row if name not in self._taken), self.names)
                for column in self.schema:
                    if column.name not in row and column.name not in nowhere:
                        report.add(number, column.name, "the column is missing", _wanted(column))
            else:
                report.add(number, None, describe(row), "an object {column: value}")
        # Cells of the wrong kind are said in the same answer; absent cells and rows that are no objects count as null.
        settled: dict[str, tuple[list[Any], Dtype]] = {}
        for position, name in enumerate(self.names):
            columns = {name: [row.get(name) if type(row) is dict else None for row in rows]}
            before = report.count
            dtype = self.settle(position, columns, report)
            if report.count == before:
                settled[name] = (columns[name], dtype)
        self._read_also(settled, report)
        return report.failure()

    def _read_also(self, columns: Mapping[str, tuple[list[Any], Dtype]], report: Report) -> None:
        """Note cells of the right kind that the model cannot read."""
        for problem in self._unreadable(columns) if self._unreadable is not None and columns else ():
            report.add(problem.row, problem.column, problem.found, problem.allowed)


def describe(value: Any) -> str:
    """A JSON value in words: its type, and the value where it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {'true' if value else 'false'}"
    if isinstance(value, int | float):
        return f"the number {short(str(value))}"
    if isinstance(value, str):
        return f'the text "{short(value)}"'
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"an object with {len(value)} keys"


def short(text: str) -> str:
    """At most 40 characters of it."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def _only(types: set[type]) -> type:
    types.discard(type(None))
    return types.pop() if len(types) == 1 else type(None)


def _wanted(column: ColumnSchema) -> str:
    encoded = ", as base64 text" if column.kind == "binary" else ""
    return f"{column.expects}{encoded}, or null where it is not known"


def _decoded(cell: str | None, row: int, column: ColumnSchema, report: Report) -> bytes | None:
    if cell is None:
        return None
    try:
        return base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError):
        report.add(row, column.name, f'text that is not base64: "{short(cell)}"', _wanted(column))
        return None


def text_of(cell: Any) -> str:
    """A cell as polars casts it to String, so that a mixed column means what a column of one type means."""
    return ("true" if cell else "false") if isinstance(cell, bool) else str(cell)


def _as_text(cell: Any, row: int, column: ColumnSchema, report: Report) -> str | None:
    """A list as JSON; told where it is nested too deeply for any feature."""
    if type(cell) is not list:
        text: str | None = cell
        return text
    try:
        return orjson.dumps(cell).decode()
    except orjson.JSONEncodeError:  # 254 levels; reading takes more
        report.add(row, column.name, "lists in lists, hundreds deep", _wanted(column))
        return None


def _listed(names: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
