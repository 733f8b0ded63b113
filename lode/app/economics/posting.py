"""Compute costs into the ledger: cost/compute against payable/compute, once for each UTC day that is over.

Not with every request: an hour's price changes, is often known only later, and a settlement should stay one small act. What was posted
is counted, so that posting again adds only what came late.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Session, Store, Transfer
from lode.app.economics.margin import Terms, amount
from lode.app.economics.readings import DAY_US, Window, shown_day
from lode.core.errors import BillingError

KIND = "cost.post"


def post(store: Store, actor: str, terms: Terms, span: Window, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Post the days of a window that are over. Errors: BillingError where a model's hour has no price."""

    def work(session: Session) -> list[Act]:
        acts = _acts(session, actor, terms, Window(span.start_us, min(span.end_us, now_us() // DAY_US * DAY_US)))
        journal.append(session, acts, now_us())
        return acts

    acts = store.transact(work)
    sums: dict[str, int] = {}
    for act in acts:
        for item in act.transfers:
            currency = item.debit.rsplit("/", 1)[1]
            sums[currency] = sums.get(currency, 0) + item.amount
    return {
        "days": len({act.facts["day"] for act in acts}),
        "posted": {currency: amount(value) for currency, value in sums.items()},
    }


def _acts(session: Session, actor: str, terms: Terms, span: Window) -> list[Act]:
    rows = session.rows(
        "SELECT at_us / 86400000000, model, SUM(compute_us) FROM usage WHERE at_us >= ? AND at_us < ? GROUP BY 1, 2 ORDER BY 1, 2",
        (span.start_us, max(span.start_us, span.end_us)),
    )
    found = [(f"compute_us|{model}|{shown_day(int(day))}", shown_day(int(day)), model, int(total)) for day, model, total in rows]
    before = journal.counter(session, [name for name, *_ in found])
    acts = []
    for name, day, model, total in found:
        price, new_us = terms.price_of(model), total - before[name]
        if price is None:
            raise BillingError(
                f'--price-per-hour: found none for {model}, wanted one to post its costs. Give one, such as "0.12 EUR".'
            )
        cost = int(price.cost(Fraction(new_us)))
        if cost <= 0:
            continue
        transfer = Transfer(accounts.compute_cost(price.currency), accounts.payable("compute", price.currency), cost)
        facts = {"day": day, "model": model, "compute_us": new_us, "price": price.to_json()}
        acts.append(Act(KIND, actor, transfers=(transfer,), counters={name: new_us}, facts=facts))
    return acts
