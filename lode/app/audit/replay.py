"""What follows from the journal, made again from its records and compared with the tables, in one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson

from lode.app.audit.beside import compare_kept
from lode.app.audit.findings import Findings
from lode.app.books.contracts import Session
from lode.app.books.projection import USAGE_COLUMNS

_TRANSFERS = (
    "SELECT sequence, line, debit, credit, amount FROM transfers WHERE sequence > ? AND sequence <= ? ORDER BY sequence, line"
)
_USAGE = f"SELECT {USAGE_COLUMNS} FROM usage WHERE sequence > ? AND sequence <= ? ORDER BY sequence"
_NAMES = tuple(name.strip() for name in USAGE_COLUMNS.split(","))
_AMOUNTS = _NAMES.index("amount"), _NAMES.index("cost")
_SORTED = orjson.OPT_SORT_KEYS
Row = tuple[Any, ...]


class Replay:
    """Follows the journal batch by batch. changes: entries with documents so far."""

    def __init__(self, session: Session, findings: Findings):
        self._session, self._findings = session, findings
        self._balances: dict[str, int] = defaultdict(int)
        self._counters: dict[str, int] = defaultdict(int)
        self._documents: dict[tuple[str, str], tuple[str, int, str]] = {}
        self.changes = 0

    def batch(self, rows: Sequence[Row], after: int, to: int) -> None:
        """Journal rows with sequences in (after, to]: their own columns, and the transfers and usage that follow from them."""
        transfers: list[Row] = []
        usage: list[Row] = []
        for row in rows:
            try:
                self._entry(row, transfers, usage)
            except (ValueError, TypeError, KeyError, AttributeError):
                self._findings.add("journal", row[0], "the record is not what lode writes")
        self._compare("transfers", _TRANSFERS, (4,), transfers, after, to)
        self._compare("usage", _USAGE, _AMOUNTS, usage, after, to)

    def finish(self, last: int) -> None:
        """After the last entry: sums and documents, and rows that follow from no entry."""
        self._sums("balances", "account", self._balances)
        self._sums("counters", "name", self._counters)
        self._compare_documents()
        compare_kept(self._session, self._findings)
        for table in ("transfers", "usage"):
            sql = f"SELECT sequence FROM {table} WHERE sequence < 1 OR sequence > ? ORDER BY sequence LIMIT 1"
            for (sequence,) in self._session.rows(sql, (last,)):
                self._findings.add(table, sequence if isinstance(sequence, int) else None, "a row that follows from no entry")

    def _entry(self, row: Row, transfers: list[Row], usage: list[Row]) -> None:
        sequence, _, kind, organisation, reference, fingerprint, record, _ = row
        found = orjson.loads(record)
        said = (found["kind"], found["organisation"], found.get("reference", ""), found.get("fingerprint", ""))
        if said != (kind, organisation, reference, fingerprint):
            self._findings.add(
                "journal", sequence, "the columns kind, organisation, reference or fingerprint are not what the record says"
            )
        moved = found.get("transfers")
        if moved:
            balances = self._balances
            for line, (debit, credit, amount) in enumerate(moved):
                transfers.append((sequence, line, debit, credit, amount))
                number = int(amount)
                balances[debit] += number
                balances[credit] -= number
        counted = found.get("counters")
        if counted:
            for name, amount in counted.items():
                self._counters[name] += int(amount)
        written = found.get("documents")
        if written:
            self.changes += 1
            for item in written:
                body = orjson.dumps(item["body"], option=_SORTED).decode()
                self._documents[item["kind"], item["id"]] = (item["organisation"], sequence, body)
        used = found.get("used")
        if used is not None:
            usage.append(_usage_row(sequence, used))

    def _compare(self, table: str, sql: str, amounts: Sequence[int], wanted: list[Row], after: int, to: int) -> None:
        """Rows of a table against rows that were made again. amounts: columns of numbers kept as text or NUMERIC."""
        found = self._session.rows(sql, (after, to))
        if found == wanted:
            return
        found = [_with_texts(row, amounts) for row in found]
        if found == wanted:
            return
        have, need = (
            {row[: 1 + (table == "transfers")]: row for row in found},
            {row[: 1 + (table == "transfers")]: row for row in wanted},
        )
        for name in sorted(have.keys() | need.keys(), key=str):
            if have.get(name) != need.get(name):
                what = (
                    "is missing"
                    if name not in have
                    else "follows from no entry"
                    if name not in need
                    else "is not what its entry says"
                )
                self._findings.add(table, name[0] if isinstance(name[0], int) else None, f"the row {what}")
        if len(found) != len(have):
            self._findings.add(table, after + 1, "the same row twice")

    def _sums(self, table: str, key: str, wanted: dict[str, int]) -> None:
        # Text is compared as text: the books write no other form of a number.
        found = {name: str(amount) for name, amount in self._session.rows(f"SELECT {key}, amount FROM {table}")}
        for name in sorted(found.keys() | wanted.keys(), key=str):
            if name not in found or name not in wanted or found[name] != str(wanted[name]):
                have = found.get(name, "nothing")
                self._findings.add(table, None, f"{name}: found {have}, the journal says {wanted.get(name, 'nothing')}")

    def _compare_documents(self) -> None:
        rows = self._session.rows("SELECT kind, id, organisation, sequence, body FROM documents")
        found = {(kind, id): (organisation, sequence, body) for kind, id, organisation, sequence, body in rows}
        for name in sorted(found.keys() | self._documents.keys(), key=str):
            if found.get(name) != self._documents.get(name):
                wanted = self._documents.get(name)
                self._findings.add("documents", wanted[1] if wanted else None, f"{name[0]} {name[1]} is not what the journal says")


def _with_texts(row: Row, amounts: Sequence[int]) -> Row:
    """A row as it is made again: PostgreSQL gives amounts as decimals. JSON is compared letter by letter: readers differ on double keys."""
    values = list(row)
    for index in amounts:
        values[index] = str(values[index])
    return tuple(values)


def _usage_row(sequence: int, used: dict[str, Any]) -> Row:
    """As lode/app/books/projection.py writes it, made from the record itself: a million of them are compared in one go."""
    units = used["units"]
    get = units.get
    return (
        sequence, used["request_id"], used["at_us"], used["organisation"], used["project"], used["key"], used["model"], used["version"],
        used["status"], used["kind"], used["plan"], used["subscription"], used["period"], get("rows", 0), get("input_tokens", 0),
        get("cached_tokens", 0), get("output_tokens", 0), get("compute_us", 0), orjson.dumps(units).decode(),
        orjson.dumps(used["charges"]).decode(), used["amount"], used["cost"], used["cost_currency"], used["provider"],
        int(used["estimated"]), "",
    )  # fmt: skip
