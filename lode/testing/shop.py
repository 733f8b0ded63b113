"""Books with a customer, a key and a plan in them, and gates in front of nothing: for tests and benchmarks of metering."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lode.app.access import keys, limits, organisations
from lode.app.access.credentials import stored_pepper
from lode.app.books import journal
from lode.app.books.contracts import Session
from lode.app.books.open import open_books
from lode.app.metering.gate import BooksGate, GateOptions
from lode.app.prices import plans, subscriptions
from lode.app.prices.plan import Plan, make
from lode.core.check import Finding

_ACTOR = "test"

PLAN: dict[str, Any] = {
    "name": "team", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "calls", "type": "standard", "price": "0.01", "unit": "requests"}],
}  # fmt: skip


def clock_us() -> int:
    """The real one."""
    return time.time_ns() // 1000


class Shop:
    """Books in a folder. plan: its record, None for no prices. location: where the books lie. now_us: the clock."""

    def __init__(
        self,
        folder: Path,
        *,
        location: str | None = None,
        plan: dict[str, Any] | None = PLAN,
        now_us: Callable[[], int] = clock_us,
    ):
        self.now_us = now_us
        self.store = open_books(location, folder)
        self.pepper = stored_pepper(folder)
        self.plan = None if plan is None else plan["name"]
        if plan is not None:
            plans.add(self.store, _ACTOR, _plan(plan), now_us=now_us)

    def customer(self, slug: str = "acme", *, limits: Sequence[str] = (), key: dict[str, Any] | None = None, **fields: Any) -> str:
        """A new organisation with a subscription; gives its key. limits: the organisation's. key: fields of its key."""
        organisations.add(self.store, _ACTOR, slug, {"name": slug, "currency": "EUR", **fields}, now_us=self.now_us)
        if self.plan is not None and not self._has_plan(slug):
            subscriptions.subscribe(self.store, _ACTOR, slug, self.plan, now_us=self.now_us)
        if limits:
            self.limit(f"organisation/{slug}", *limits)
        return self.key(slug, **(key or {}))

    def key(self, slug: str = "acme", text: str | None = None, **fields: Any) -> str:
        """Another key. text: one that was made elsewhere."""
        made = keys.create(self.store, _ACTOR, slug, fields, self.pepper, now_us=self.now_us, key=text)
        return str(made["key"])

    def limit(self, subject: str, *written: str) -> None:
        """Replace the limits of a subject."""
        limits.set_limits(self.store, _ACTOR, subject, list(written), now_us=self.now_us)

    def gate(self, model: str = "sample", *, process: str | None = None, **options: Any) -> BooksGate:
        """A gate on these books, as one process has it."""
        return BooksGate(self.store, self.pepper, model=model, options=GateOptions(**options), now_us=self.now_us, process=process)

    def read(self, work: Callable[[Session], Any]) -> Any:
        """What the books say."""
        with self.store.view() as session:
            return work(session)

    def balance(self, account: str) -> int:
        """10^-12 units."""
        return int(self.read(lambda session: journal.balance(session, account)))

    def used(self) -> list[tuple[Any, ...]]:
        """Request id, status, amount, units of every metered request."""
        rows = self.read(lambda session: session.rows("SELECT request_id, status, amount, units FROM usage ORDER BY sequence"))
        return [(request_id, status, int(amount), units) for request_id, status, amount, units in rows]

    def _has_plan(self, slug: str) -> bool:
        return self.read(lambda session: subscriptions.subscription_at(session, slug, self.now_us())) is not None


def _plan(record: dict[str, Any]) -> Plan:
    findings: list[Finding] = []
    plan = make(record, findings)
    assert plan is not None, findings
    return plan
