"""What some usage would cost in one whole period of a plan: the same rating as for requests, and the same lines as on a bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lode.app.prices import lines
from lode.app.prices.contracts import MONEY, UNITS, Line
from lode.app.prices.periods import micros, moment
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import Tariff
from lode.core import money
from lode.core.check import unknown_word
from lode.core.errors import BillingError

_MOST = 10**18


def estimate(plan: Plan, units: Mapping[str, int | str], model: str = "any") -> dict[str, Any]:
    """Lines and total of a whole period. units: what is used; sums of money as text in the plan's currency.

    Requests are taken to be alike, which matters where each is priced by itself. Errors: BillingError.
    """
    used = _read(units)
    day, month = (int(plan.anchor[-2:]), int(plan.anchor[:2])) if plan.period == "year" and plan.anchor else (1, 1)
    start_us = micros(moment(0).replace(year=2027, month=month, day=min(day, 28)))
    since_us = 0  # long ago, so that neither a trial nor a cut is in the way
    subscription = Subscription("example", "example", plan.name, plan.version, plan.currency, since_us, unit=plan.period)
    period = subscription.period(start_us)
    tariff = Tariff(plan, subscription, model)
    rated = tariff.rate({}, used, period)
    found = lines.in_advance(plan, subscription, start_us) + lines.closing(plan, subscription, period, rated.counters)
    shown = [_shown(line, plan.currency) for line in found]
    total = sum(money.coins(line.amount, plan.currency) for line in found)
    return {
        "plan": plan.name, "version": plan.version, "currency": plan.currency, "model": model, "units": dict(units), "lines": shown,
        "total": money.plain(total), "reserved_at_most": money.plain(tariff.most(used, period.label)), "warnings": list(plan.warnings),
    }  # fmt: skip


def _shown(line: Line, currency: str) -> dict[str, Any]:
    amount = money.coins(line.amount, currency)
    return {
        "kind": line.kind, "name": line.text, "quantity": line.quantity, "unit": line.unit, "amount": money.plain(amount),
        "exact": money.plain(int(line.amount)),
    }  # fmt: skip


def _read(units: Mapping[str, int | str]) -> dict[str, int]:
    used: dict[str, int] = {"requests": 1}
    for name, value in units.items():
        if name not in UNITS:
            raise BillingError(f"units: {unknown_word(name, UNITS)}")
        if name in MONEY:
            used[name] = money.parse(value, name)
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            raise BillingError(f"{name}: found {str(value)[:40]}, allowed: a whole number from 0 to {_MOST}. Correct it.")
        used[name] = value
    if used.get("cached_tokens", 0) > used.get("input_tokens", 0):
        raise BillingError(
            "cached_tokens: found more than input_tokens, allowed: at most as many: they are some of them. Correct one."
        )
    return used
