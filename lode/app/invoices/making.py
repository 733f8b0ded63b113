"""One document, made from what is due: its body, the transfers of its act, the exchange rates that it freezes. Nothing is written here."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lode.app.books import accounts
from lode.app.books.contracts import Session, Transfer
from lode.app.invoices import customers, identity, packs, tax, terms
from lode.app.invoices.customers import Customer
from lode.app.invoices.documents import REFERENCE, Line, moved
from lode.app.invoices.drafting import Draft, Scope
from lode.app.invoices.selection import Part
from lode.app.invoices.seller import Seller
from lode.core import money

Kind = Literal["period", "interim", "advance", "final", "draft"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of a customer's books, read without stopping the writer. through: the journal's last entry then. costs: of
    providers, by part and currency.
    """

    customer: Customer
    parts: tuple[Part, ...]
    through: int
    identity: identity.Identity
    costs: Mapping[tuple[str, str], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Order:
    """A document that is due. group: the period it is about. ordinal: documents that the customer has, for kinds that a period may have
    several of.
    """

    kind: Kind
    scope: Scope
    group: terms.Group
    ordinal: int = 0

    @property
    def reference(self) -> str:
        tail = "" if self.kind == "period" else f"|{self.ordinal}"
        return f"{REFERENCE}invoice|{self.group.key}|{self.kind}{tail}"


def body_of(seen: Scene, order: Order, made: Draft, seller: Seller, now: int) -> tuple[dict[str, Any], list[str]]:
    """The document without its number and seal, and what the operator should know."""
    group, customer, currency = order.group, seen.customer, seen.customer.currency
    zone = customers.zone(group.zone)
    last_day = customers.moment(min(group.end_us - 1, max(now, group.start_us))).astimezone(zone).date()
    done = tax.taxed(made.lines, seller, customer.body(), currency, last_day, group.zone)
    prepaid, unneeded = _prepaid(made, done.lines, done.gross, currency)
    today = datetime.date.fromisoformat(day_of(now, seller.zone))
    rates, warnings = _fx(seen, made, seller, currency, today)
    net = done.gross - done.tax
    body = {
        "kind": order.kind, "organisation": customer.id, "issued": customers.shown_time(now), "currency": currency,
        "closes": group.key if order.kind == "period" else "",
        "period": {
            "label": group.label, "start": customers.shown_time(group.start_us), "end": customers.shown_time(group.end_us),
            "zone": group.zone,
            "tzdata": group.cuts[-1].subscription.tzdata,
        },
        "seller": seller.body(), "customer": customer.body(), "prices": "inclusive" if done.inclusive else "exclusive",
        "lines": [line.body() for line in done.lines], "taxes": [row.body() for row in done.taxes], "net": money.plain(net),
        "tax": money.plain(done.tax), "total": money.plain(done.gross), "prepaid": money.plain(prepaid),
        "to_prepaid": money.plain(unneeded), "due": money.plain(done.gross - prepaid),
        "due_on": (today + datetime.timedelta(days=seller.due_days)).isoformat(), "reference": "", "number": "",
        "selection": [part.body(seen.through) for part in made.parts], "through": seen.through, "fx": rates,
    }  # fmt: skip
    return body, warnings


def _prepaid(made: Draft, lines: Sequence[Line], gross: int, currency: str) -> tuple[int, int]:
    """What prepaid credit paid of this document, in whole coins: all of the usage where nothing is left to pay of it. And what goes
    back of it: requests drew it at their price, a coupon, a credited fee or a cheaper tier lowered the sum afterwards.
    """
    new = [part.new for part in made.parts]
    drawn = sum(taken.prepaid for taken in new)
    if drawn <= 0:
        return 0, 0
    used = sum(line.amount for line in lines if line.is_used or line.kind in ("waived", "trial"))
    is_whole = sum(taken.accrued for taken in new) == 0
    wanted = used if is_whole else money.coins(drawn, currency)
    paid = max(0, min(wanted, gross))
    return paid, max(0, drawn - paid) if paid < wanted else 0


def transfers(seen: Scene, made: Draft, body: Mapping[str, Any]) -> tuple[Transfer, ...]:
    """What was accrued is now owed; fees and true-ups are earned; what one rounding per line adds goes to its own account."""
    owner, currency = seen.customer.id, seen.customer.currency
    receivable, revenue, given = accounts.receivable(owner), accounts.revenue(currency), accounts.waived(currency)
    accrued = sum(part.new.accrued for part in made.parts)
    trial = -sum(line.exact for line in made.lines if line.kind == "trial")
    coupons = -sum(line.exact for line in made.lines if line.kind == "coupon")
    sold = sum(amount for _, _, amount in made.packs)
    used = sum(line.exact for line in made.lines if line.is_used or line.kind == "waived")
    earned = (
        sum(line.exact for line in made.lines)
        - used
        + trial
        + coupons
        - sum(line.exact for line in made.lines if line.kind == "prepaid")
    )
    due, taxes, back = (money.parse(body[name], name, least=None) for name in ("due", "tax", "to_prepaid"))
    added = taxes if body["prices"] == "exclusive" else 0
    rest = due - accrued - earned - sold - added - back + trial + coupons
    parts = [
        (receivable, accounts.accrued(owner), accrued), (receivable, revenue, earned), (given, receivable, trial + coupons),
        (receivable if added else revenue, accounts.tax(currency), taxes), (receivable, packs.deposit(owner), sold + back),
        (receivable, accounts.rounding(currency), rest),
    ]  # fmt: skip
    return moved(parts)


def _fx(seen: Scene, made: Draft, seller: Seller, currency: str, today: datetime.date) -> tuple[list[dict[str, str]], list[str]]:
    """The exchange rates that are frozen on a document: of every other currency in which its requests cost us something."""
    rates, warnings = [], []
    for other in sorted({str(row["currency"]) for row in costs_of(seen, made)} - {currency}):
        known = [fx for fx in seller.fx if (fx.base, fx.quote) == (other, currency) and fx.date <= today]
        if not known:
            warnings.append(
                f"providers were paid in {other}; the seller file has no [[fx]] from {other} to {currency}, so no rate is frozen"
            )
            continue
        last = max(known, key=lambda fx: fx.date)
        rates.append({"from": other, "to": currency, "rate": last.rate, "source": last.source, "date": last.date.isoformat()})
    return rates, warnings


def costs(session: Session, organisation: str, parts: Sequence[Part]) -> dict[tuple[str, str], dict[str, int]]:
    """What providers took for the entries that no invoice took: part -> currency -> 10^-12. Not on documents, which customers read."""
    found = {}
    for part in parts:
        rows = session.rows(
            "SELECT cost_currency, exact_sum(cost) FROM usage WHERE organisation = ? AND subscription = ? AND period = ? "
            "AND sequence > ? AND cost_currency <> '' GROUP BY cost_currency",
            (organisation, part.subscription, part.period, part.after),
        )
        found[part.subscription, part.period] = {str(currency): int(cost) for currency, cost in rows}
    return found


def costs_of(seen: Scene, made: Draft) -> list[dict[str, str]]:
    """The same of one document, by currency, for its act."""
    sums: dict[str, int] = {}
    for part in made.parts:
        for currency, cost in seen.costs.get((part.subscription, part.period), {}).items():
            sums[currency] = sums.get(currency, 0) + cost
    return [{"currency": currency, "amount": money.plain(cost)} for currency, cost in sorted(sums.items())]


def day_of(now: int, zone: str) -> str:
    """The date at a moment in a zone."""
    return customers.moment(now).astimezone(customers.zone(zone)).date().isoformat()
