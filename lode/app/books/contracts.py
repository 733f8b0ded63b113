"""The books' contracts: a store of rows (SQLite, PostgreSQL), and the acts that are written into the journal.

READ FIRST in this folder, then `journal.py`, `ledger.py`. One rule: every act is one row of the journal, chained by
hashes, written in one transaction together with what follows from it (balances, documents, usage, counters). Those can be
made again from the journal; the journal is never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from lode.core.types import quick

T = TypeVar("T")


class Session(ABC):
    """One transaction on one connection. SQL is the common part of SQLite and PostgreSQL, written with `?`, never with values in it.

    Amounts travel as decimal text (columns TEXT in SQLite, NUMERIC(38) in PostgreSQL): `int(value)` reads them from either.
    `exact_sum(column)` adds amounts exactly, on both; of no rows it is NULL: `int(value or 0)`.
    """

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives."""

    @abstractmethod
    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Changes rows; how many."""

    @abstractmethod
    def run_many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """The same statement for many rows."""

    @abstractmethod
    def storage(self) -> tuple[list[str], str]:
        """What is wrong with the storage itself (pages, indexes), in words, and what was looked at."""


class Store(ABC):
    """Where the books lie. Implementations pass `lode.testing.books`.

    Errors of every method: BooksError. `BooksError.retry_s` is set where the same call may succeed later (full disk, server away).
    """

    where: str
    """For messages: a path, or the address without a password."""

    @abstractmethod
    def transact(self, work: Callable[[Session], T]) -> T:
        """Run `work` alone (no other writer, in any process, meanwhile) and make it durable before returning.

        All or nothing: where `work` raises, nothing of it stays.
        """

    @abstractmethod
    def view(self) -> AbstractContextManager[Session]:
        """Reads from one moment of the books, which writers do not disturb."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections and files. Twice is allowed."""

    def check(self) -> list[str]:
        """What is wrong with the storage itself, in words; empty where nothing is."""
        with self.view() as session:
            return session.storage()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@quick
class Transfer:
    """Money from one account to another: debit = credit by construction. amount: 10^-12 units, > 0.

    Names of accounts: `lode/app/books/accounts.py`. The currency is the organisation's; accounts of different currencies have
    different names, so they never mix.
    """

    debit: str
    credit: str
    amount: int


@dataclass(frozen=True, slots=True)
class Document:
    """The new state of one thing (a customer, a key, a plan, an invoice), whole. A removed thing is one that says so.

    kind, id: together its name. organisation: whose it is, "" for nobody's. body: JSON; no secret, no float for money.
    """

    kind: str
    id: str
    organisation: str
    body: dict[str, Any]


@quick
class Used:
    """One metered request, as the journal and the table `usage` keep it; written once, never changed.

    at_us: when it was let in, microseconds since 1970 UTC (event time). subscription, period: id of the contract and start of its
    period (ISO 8601 UTC), "" where the organisation has none. units: what is priced, whole numbers ("requests", "rows", "input_tokens",
    "cached_tokens", "output_tokens", "compute_us", ...). amount: what it cost the customer; cost: what it cost us beyond compute
    (provider), both 10^-12. charges: `amount` by the plan's charge. kind: "customer", "own" (evaluation, health), "shadow": only the
    first is revenue. status: HTTP status of the answer. estimated: True where a provider gave no usage figures.
    """

    request_id: str
    at_us: int
    organisation: str
    project: str
    key: str
    model: str
    version: int
    status: int
    units: dict[str, int]
    amount: int
    charges: dict[str, int] = field(default_factory=dict)
    plan: str = ""
    subscription: str = ""
    period: str = ""
    kind: str = "customer"
    cost: int = 0
    cost_currency: str = ""
    provider: str = ""
    estimated: bool = False


@quick
class Act:
    """One thing that happened: a row of the journal.

    kind: "thing.verb" ("key.create", "usage.settle", "invoice.issue"). actor: who did it ("key:...", "user:...", "cli", "system").
    organisation: whom it concerns, "" for nobody. reference: with the organisation unique for ever, "" for none: the same
    reference again is the same act (idempotency). fingerprint: sha256 of what was asked (hex), compared where a reference comes again.
    facts: JSON that nothing else holds (a reason, figures).
    """

    kind: str
    actor: str
    organisation: str = ""
    reference: str = ""
    fingerprint: str = ""
    transfers: tuple[Transfer, ...] = ()
    documents: tuple[Document, ...] = ()
    used: Used | None = None
    counters: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@quick
class Entry:
    """An act as it stands in the journal. sequence: 1, 2, 3, ... without gaps. at_us: when it was written. hash: hex, chained."""

    sequence: int
    at_us: int
    act: Act
    previous: str
    hash: str
