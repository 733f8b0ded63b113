"""What customers would have paid under another plan: every metered request of a window is rated again; nothing in the books changes.

Each billing period is rated from its first request on, so that tiers stand where they would have stood. Under the plan that a customer
has, the result is the ledger's, to the last 10^-12.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from lode.app.books import journal
from lode.app.books.contracts import Session, Store
from lode.app.economics.margin import amount
from lode.app.economics.readings import Window, shown_us
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import KIND, Subscription
from lode.app.prices.subscriptions import begun
from lode.app.prices.tariff import Tariff
from lode.core.errors import BillingError

_MANY = 5000


@dataclass(slots=True)
class Change:
    """One customer, 10^-12 units. requests: of the window."""

    requests: int = 0
    before: int = 0
    after: int = 0
    charges: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def simulate(store: Store, plan: Plan, span: Window) -> dict[str, Any]:
    """By customer: what usage cost, what it would have cost, and the difference; who pays more first.

    Only usage is compared: fees, minimums and taxes of either plan come on top. Customers who pay in another currency than the plan's are
    left out, and named. Errors: BillingError where that are all of them, and for provider costs in a currency that the plan does not read.
    """
    changes: dict[str, Change] = defaultdict(Change)
    others: dict[str, str] = {}
    with store.view() as session:
        for name in _subscriptions(session, span):
            document = journal.document(session, KIND, name)
            assert document is not None, "usage names a subscription that exists"
            held = Subscription.of(document)
            if held.currency != plan.currency:
                others[held.organisation] = held.currency
                continue
            _rate(session, plan, held, span, changes)
        without = session.rows(
            "SELECT COUNT(*) FROM usage WHERE at_us >= ? AND at_us < ? AND subscription = '' AND kind = 'customer' "
            "AND status < 400",
            (span.start_us, span.end_us),
        )[0][0]
    if others and not changes:
        first, currency = next(iter(others.items()))
        raise BillingError(f"--plan: found a plan in {plan.currency}, but {first} pays in {currency}. Write one in {currency}.")
    before, after = (sum(getattr(change, side) for change in changes.values()) for side in ("before", "after"))
    lines = [_line(name, change) for name, change in sorted(changes.items(), key=lambda item: item[1].before - item[1].after)]
    return {
        "plan": plan.name, "currency": plan.currency, "from": shown_us(span.start_us), "to": shown_us(span.end_us), "customers": lines,
        "pay_more": sum(change.after > change.before for change in changes.values()),
        "pay_less": sum(change.after < change.before for change in changes.values()),
        "before": amount(before), "after": amount(after), "difference": amount(after - before), "without_plan": int(without),
        "other_currencies": others,
    }  # fmt: skip


def _subscriptions(session: Session, span: Window) -> list[str]:
    rows = session.rows(
        "SELECT DISTINCT subscription FROM usage WHERE at_us >= ? AND at_us < ? AND subscription <> '' ORDER BY subscription",
        (span.start_us, span.end_us),
    )
    return [name for (name,) in rows]


def _rate(session: Session, plan: Plan, held: Subscription, span: Window, changes: dict[str, Change]) -> None:
    """Add one subscription's requests to the changes."""
    under = _under(plan, held)
    has_same_periods = (under.unit, under.anchor_day, under.anchor_month) == (held.unit, held.anchor_day, held.anchor_month)
    tariffs: dict[str, Tariff] = {}
    counters: dict[str, int] = defaultdict(int)
    for model, at_us, period, units, paid, cost_currency in _requests(session, held.id, *_whole_periods(under, span)):
        tariff = tariffs.setdefault(model, Tariff(plan, under, model))
        if units["provider_cost"] and not tariff.takes(cost_currency):
            raise BillingError(
                f"--plan: found requests of {held.organisation} that cost us {cost_currency}, which no charge of {plan.name} on "
                f'provider_cost reads. Write provider_currency = "{cost_currency}" there.'
            )
        label = period if has_same_periods or not under.covers(at_us) else under.period(at_us).label
        rated = tariff.rate(counters, units, label)
        for name, count in rated.counters.items():
            counters[name] += count
        if not span.start_us <= at_us < span.end_us:
            continue
        change = changes[held.organisation]
        change.requests += bool(units.get("requests"))  # none where a corrected price changed what others paid
        change.before += paid
        change.after += rated.amount
        for name, charge in rated.charges.items():
            change.charges[name] += charge


def _whole_periods(held: Subscription, span: Window) -> tuple[int, int]:
    """From the start of the period in which the window begins to the end of that in which it ends: requests are not settled in order."""
    first_us, last_us = max(span.start_us, held.since_us), span.end_us - 1
    start_us = held.period(first_us).start_us if held.covers(first_us) else span.start_us
    return start_us, held.period(last_us).end_us if held.covers(last_us) else span.end_us


def _under(plan: Plan, held: Subscription) -> Subscription:
    """The same contract with another plan: its own periods where they differ in length, else the days on which it is billed now."""
    if plan.period == held.unit:
        return replace(held, plan=plan.name, version=plan.version)
    made = begun(plan, held.organisation, held.zone, held.since_us, 0)
    return replace(made, id=held.id, until_us=held.until_us, trial_until_us=held.trial_until_us, coupons=held.coupons)


def _requests(
    session: Session, subscription: str, start_us: int, end_us: int
) -> Iterator[tuple[str, int, str, Mapping[str, int], int, str]]:
    """Requests that were priced, in the order in which they were settled."""
    after = 0
    while True:
        rows = session.rows(
            "SELECT sequence, model, at_us, period, units, cost, cost_currency, amount FROM usage "
            "WHERE subscription = ? AND at_us >= ? AND at_us < ? AND kind IN ('customer', 'correction') AND sequence > ? "
            "ORDER BY sequence LIMIT ?",
            (subscription, start_us, end_us, after, _MANY),
        )
        for sequence, model, at_us, period, units, cost, cost_currency, paid in rows:
            after = sequence
            yield model, int(at_us), period, {**orjson.loads(units), "provider_cost": int(cost)}, int(paid), cost_currency
        if len(rows) < _MANY:
            return


def _line(name: str, change: Change) -> dict[str, Any]:
    difference = change.after - change.before
    return {
        "customer": name, "requests": change.requests, "before": amount(change.before), "after": amount(change.after),
        "difference": amount(difference), "charges": {charge: amount(value) for charge, value in sorted(change.charges.items())},
    }  # fmt: skip
