"""The lines of a period's bill, before they are rounded: fees, usage, true-ups, caps, credits for what was not used.

Pure: a plan, a subscription, a period and the counters of its usage in, lines out. Amounts of usage come from the counters,
never from prices again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from lode.app.prices.contracts import ACTIVE_US, ELIGIBLE, PERIODS, WHOLE_US, Line
from lode.app.prices.periods import Period
from lode.app.prices.plan import Fee, Plan, PlanCharge
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import counter, parts
from lode.core import money


def share(amount: int | Fraction, part_us: int, whole_us: int) -> Fraction:
    """A part of an amount in proportion to time: by seconds and their parts, so that days of 23 and 25 hours count what they are."""
    assert 0 <= part_us <= whole_us and whole_us > 0
    return Fraction(amount) * part_us / whole_us


def names(plan: Plan, subscription: Subscription, period: Period) -> tuple[str, ...]:
    """Counters that `closing` must be told."""
    found = []
    for item in _usage(plan):
        found.append(counter("amount", subscription.id, period.label, item.name))
        found += [counter("quantity", subscription.id, period.label, part) for part in parts(item.name, item.charge.units)]
    return tuple(found)


def in_advance(plan: Plan, subscription: Subscription, at_us: int) -> list[Line]:
    """What is due when the period at `at_us` begins: fees in advance and packs of credit; nothing in a trial.

    As it was planned then: if the period is cut later, `unused` credits the rest.
    """
    period = subscription.planned(at_us)
    if period.trial:
        return []
    lines = [_fee(fee, period) for fee in plan.fees if fee.due == "advance"]
    began = _ordinal(subscription, period)
    for item in plan.charges:
        if item.type == "prepaid":
            amount = item.charge.amount({PERIODS: began}, {PERIODS: 1}) * money.UNIT
            lines.append(_line("prepaid", item.name, "prepaid credit", amount, period))
    return [line for line in lines if line.amount]


def unused(plan: Plan, debited: Sequence[Line], cut_us: int) -> list[Line]:
    """Credits for lines in advance whose time was cut short: the unused part of what was debited, at that amount; of fees by time."""
    by_time = {fee.name for fee in plan.fees if fee.prorated}
    lines = []
    for line in debited:
        if line.kind == "fee" and line.name in by_time and line.start_us < cut_us < line.end_us:
            amount = -share(line.amount, line.end_us - cut_us, line.end_us - line.start_us)
            lines.append(Line("credit", line.name, f"{line.name}, unused", amount, start_us=cut_us, end_us=line.end_us))
    return lines


def closing(plan: Plan, subscription: Subscription, period: Period, counters: Mapping[str, int]) -> list[Line]:
    """What is due when a period has ended: usage, fees in arrears, true-ups, the plan's cap. In a trial: only usage, to be given away."""
    lines = usage(plan, subscription, period, counters)
    if period.trial:
        return lines
    lines += [_fee(fee, period) for fee in plan.fees if fee.due == "arrears" and fee.amount]
    lines += _openings(plan, period)
    lines += _true_ups(plan, period, lines)
    return lines + _capped(plan, period, lines)


def usage(plan: Plan, subscription: Subscription, period: Period, counters: Mapping[str, int]) -> list[Line]:
    """One line for each charge that was used, as its counters say."""
    lines = []
    for item in _usage(plan):
        amount = counters.get(counter("amount", subscription.id, period.label, item.name), 0)
        counts = [
            counters.get(counter("quantity", subscription.id, period.label, part), 0)
            for part in parts(item.name, item.charge.units)
        ]
        if amount or any(counts):
            unit = item.charge.units[0]
            lines.append(_line("usage", item.name, item.name, Fraction(amount), period, counts[0], unit))
    return lines


def _usage(plan: Plan) -> list[PlanCharge]:
    return [item for item in plan.charges if item.charge.due == "usage"]


def _fee(fee: Fee, period: Period) -> Line:
    whole_us = period.whole_end_us - period.whole_start_us
    amount = share(fee.amount, period.end_us - period.start_us, whole_us) if fee.prorated else Fraction(fee.amount)
    return _line("fee", fee.name, fee.name, amount, period)


def _openings(plan: Plan, period: Period) -> list[Line]:
    """Flat fees of first tiers that are due without usage, once for each charge."""
    lines = []
    for item in _usage(plan):
        amount = item.charge.opening() * money.UNIT
        if item.cap is not None:
            amount = min(amount, Fraction(item.cap))
        if amount:
            lines.append(_line("opening", item.name, f"{item.name}, flat", amount, period))
    return lines


def _true_ups(plan: Plan, period: Period, lines: Sequence[Line]) -> list[Line]:
    found = []
    for item in plan.charges:
        if item.charge.of:
            counted = [line for line in lines if line.kind in ("usage", "opening") and ({line.name, "*"} & set(item.charge.of))]
            known = {
                ELIGIBLE: int(sum(line.amount for line in counted)),
                ACTIVE_US: period.end_us - period.start_us,
                WHOLE_US: period.whole_end_us - period.whole_start_us,
            }
            amount = item.charge.amount({}, known) * money.UNIT
            if amount:
                found.append(_line("true_up", item.name, f"{item.name}, missing", amount, period))
    return found


def _capped(plan: Plan, period: Period, lines: Sequence[Line]) -> list[Line]:
    """The plan's cap as a line that takes off what is above it."""
    above = sum((line.amount for line in lines), Fraction(0)) - (plan.cap or 0)
    if plan.cap is None or above <= 0:
        return []
    return [_line("cap", "cap", "above the most per period", -above, period)]


def _ordinal(subscription: Subscription, period: Period) -> int:
    """How many paid periods of this subscription began before this one."""
    if subscription.previous:
        return 1 if period.start_us == subscription.since_us else 2
    return 0 if period.start_us <= max(subscription.since_us, subscription.trial_until_us) else 1


def _line(kind: str, name: str, text: str, amount: Fraction, period: Period, quantity: int | None = None, unit: str = "") -> Line:
    return Line(kind, name, text, amount, quantity, unit, period.start_us, period.end_us)  # type: ignore[arg-type]
