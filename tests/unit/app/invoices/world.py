"""A small business to bill: books in a temporary file, a clock that turns by hand, customers, plans, requests."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lode.app.access import organisations
from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Session, Store, Transfer, Used
from lode.app.books.open import open_books
from lode.app.invoices import customers, seller
from lode.app.prices import coupons, plans, subscriptions
from lode.app.prices.plan import make
from lode.core import money

UNTAXED = 'name = "Seller"\naddress = ["Street 1"]\ncountry = "DE"\npayment = ["IBAN 1"]\n'
TAXED = UNTAXED + (
    'tax_id = "DE1"\n[tax]\n[[tax.rate]]\ncountry = "DE"\nname = "VAT"\nrate = "19"\nfrom = 2021-01-01\n'
    '[[tax.rate]]\ncountry = "FR"\nname = "VAT"\nrate = "20"\nfrom = 2014-01-01\nreverse_charge = true\n'
)
PLAN = 'name = "team"\nversion = 1\ncurrency = "EUR"\nanchor = "1"\n'
STANDARD = '[[charges]]\nname = "requests"\ntype = "standard"\nprice = "0.01"\n'
FEE = '[[fees]]\nname = "base"\namount = "30"\n'
NOV = "2026-11-01T00:00:00+00:00"


def us(text: str) -> int:
    """Microseconds of an ISO time; a date is midnight UTC."""
    return customers.micros(text if "T" in text else f"{text}T00:00:00+00:00")


@dataclass
class World:
    """The books and the clock."""

    store: Store
    now: int = us(NOV)
    count: int = 0
    seller: seller.Seller = field(default_factory=lambda: seller.of(tomllib.loads(UNTAXED), "seller.toml"))

    def clock(self) -> int:
        return self.now

    def turn(self, text: str) -> None:
        self.now = us(text)

    def sells(self, text: str) -> None:
        self.seller = seller.of(tomllib.loads(text), "seller.toml")

    def plan(self, text: str) -> None:
        findings: list[Any] = []
        made = make(tomllib.loads(text), findings)
        assert made is not None, findings
        plans.add(self.store, "cli", made, now_us=self.clock)

    def customer(self, slug: str = "acme", plan: str = "team", **fields: Any) -> None:
        organisations.add(self.store, "cli", slug, {"currency": "EUR", "country": "DE", **fields}, now_us=self.clock)
        if plan:
            subscriptions.subscribe(self.store, "cli", slug, plan, now_us=self.clock)

    def use(
        self, count: int = 1, slug: str = "acme", at: str = "", units: Mapping[str, int] | None = None, **more: Any
    ) -> list[int]:
        """So many equal requests, rated and debited as the gate does it; their entries."""
        at_us = us(at) if at else self.now

        def work(session: Session) -> list[int]:
            return [self._one(session, slug, at_us, dict(units or {"requests": 1}), more) for _ in range(count)]

        return self.store.transact(work)

    def _one(self, session: Session, slug: str, at_us: int, units: dict[str, int], more: dict[str, Any]) -> int:
        self.count += 1
        tariff = subscriptions.tariff_at(session, slug, "m", at_us)
        assert tariff is not None
        span = tariff.period(at_us)
        before = journal.counter(session, tariff.names(span))
        rated = tariff.rate(before, units, span)
        currency = tariff.currency
        waived = rated.amount if span.trial else 0
        credit = min(max(-journal.balance(session, accounts.prepaid(slug)), 0), max(rated.amount - waived, 0))
        moves = [
            (accounts.prepaid(slug), credit), (accounts.accrued(slug), rated.amount - waived - credit), (accounts.waived(currency), waived),
        ]  # fmt: skip
        revenue = accounts.revenue(currency)
        transfers = tuple(Transfer(a, revenue, n) if n > 0 else Transfer(revenue, a, -n) for a, n in moves if n)
        used = Used(
            f"r{self.count}", at_us, slug, "prj", "key", "m", 1, 200, units, rated.amount, rated.charges, tariff.plan.id,
            tariff.subscription.id,
            span.label, **more,
        )  # fmt: skip
        act = Act("usage.settle", "key:key", slug, f"r{self.count}", "f", transfers=transfers, used=used, counters=rated.counters)
        (entry,) = journal.append(session, [act], self.now)
        return entry.sequence  # type: ignore[union-attr]

    def balance(self, account: str) -> str:
        with self.store.view() as session:
            return money.plain(journal.balance(session, account))

    def balances(self) -> dict[str, str]:
        with self.store.view() as session:
            return {
                name: money.plain(int(amount))
                for name, amount in session.rows("SELECT account, amount FROM balances")
                if int(amount)
            }

    def sum(self) -> int:
        with self.store.view() as session:
            return sum(int(amount) for (amount,) in session.rows("SELECT amount FROM balances"))

    def coupon(self, code: str, **fields: Any) -> None:
        coupons.add(self.store, "cli", code, now_us=self.clock, **fields)


def made(folder: Path, plan: str = PLAN + STANDARD, *, has: str = "team", location: str = "", **customer: Any) -> World:
    """A world with one plan and one customer that has it, at 2026-11-01."""
    world = World(open_books(location or folder / "books.sqlite", folder))
    world.plan(plan)
    world.customer(plan=has, **customer)
    return world
