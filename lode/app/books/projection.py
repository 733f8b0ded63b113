"""What follows from the journal: transfers, balances, counters, documents and usage, each made from entries alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from lode.app.books.contracts import Entry, Session, Used
from lode.app.books.records import texts

MANY = 500
"""Names in one query; SQLite allows 32,766 values in one statement."""

_TRANSFER = "INSERT INTO transfers (sequence, line, debit, credit, amount) VALUES (?, ?, ?, ?, ?)"
_DOCUMENT = (
    "INSERT INTO documents (kind, id, organisation, sequence, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET "
    "organisation = excluded.organisation, sequence = excluded.sequence, body = excluded.body"
)
USAGE_COLUMNS = (
    "sequence, request_id, at_us, organisation, project, key, model, version, status, kind, plan, subscription, period, num_rows, "
    "input_tokens, cached_tokens, output_tokens, compute_us, units, charges, amount, cost, cost_currency, provider, estimated, invoice"
)
_USAGE = f"INSERT INTO usage ({USAGE_COLUMNS}) VALUES ({', '.join('?' * len(USAGE_COLUMNS.split(',')))})"


@dataclass(slots=True)
class Following:
    """Rows and changes of sums that follow from some entries, in their order."""

    transfers: list[tuple[Any, ...]] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    counters: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    documents: list[tuple[Any, ...]] = field(default_factory=list)
    usage: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        act, sequence = entry.act, entry.sequence
        for line, item in enumerate(act.transfers):
            assert item.amount > 0 and item.debit != item.credit, f"{act.kind}: {item} moves nothing"
            self.transfers.append((sequence, line, item.debit, item.credit, str(item.amount)))
            self.balances[item.debit] += item.amount
            self.balances[item.credit] -= item.amount
        for name, amount in act.counters.items():
            self.counters[name] += amount
        for document in act.documents:
            self.documents.append((document.kind, document.id, document.organisation, sequence, _json(document.body)))
        if act.used is not None:
            self.usage.append(_usage_row(sequence, act.used))


def project(session: Session, entries: Iterable[Entry]) -> None:
    """Write what follows from entries. Also how it is made again from the journal."""
    following = Following()
    for entry in entries:
        following.add(entry)
    if following.transfers:
        session.run_many(_TRANSFER, following.transfers)
    if following.usage:
        session.run_many(_USAGE, following.usage)
    if following.documents:
        session.run_many(_DOCUMENT, following.documents)
    _add(session, "balances", "account", following.balances)
    _add(session, "counters", "name", following.counters)


@lru_cache(maxsize=256)
def marks(count: int, mark: str = "?") -> str:
    """`?, ?, ?` for so many values."""
    return ", ".join([mark] * count)


def _json(value: Any) -> str:
    """Sorted keys, so that what is made again from a record is the same text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _usage_row(sequence: int, used: Used) -> tuple[Any, ...]:
    units = used.units
    return (
        sequence, used.request_id, used.at_us, used.organisation, used.project, used.key, used.model, used.version, used.status, used.kind,
        used.plan, used.subscription, used.period, units.get("rows", 0), units.get("input_tokens", 0), units.get("cached_tokens", 0),
        units.get("output_tokens", 0), units.get("compute_us", 0), _json(units), _json(texts(used.charges)),
        str(used.amount), str(used.cost), used.cost_currency, used.provider, int(used.estimated), "",
    )  # fmt: skip


def _add(session: Session, table: str, key: str, changes: dict[str, int]) -> None:
    """Add to the sums of a table, reading them first: text and NUMERIC are added exactly in Python only."""
    names = list(changes)
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        found = session.rows(f"SELECT {key}, amount FROM {table} WHERE {key} IN ({marks(len(part))})", part)
        before = {name: int(amount) for name, amount in found}
        session.run_many(
            f"INSERT INTO {table} ({key}, amount) VALUES (?, ?) ON CONFLICT ({key}) DO UPDATE SET amount = excluded.amount",
            [(name, str(before.get(name, 0) + changes[name])) for name in part],
        )
