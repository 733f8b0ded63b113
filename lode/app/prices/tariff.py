"""What a request costs under a subscription: called inside the writer's transaction, so it only adds and compares whole numbers.

    amount = floor(total(after) * 10^12) - floor(total(before) * 10^12)        per charge, in 10^-12 units

so that the amounts of a period add up to the exact total, in whatever portions it came. Counters that it keeps, for a
subscription S, the start of its period P and a charge C:

    amount|S|P|C      what C cost so far, 10^-12 units          quantity|S|P|C       units counted (C with several units: `C.UNIT`)
    rest|S|P|C        what floor() left over, 10^-24 units (charges per request only)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

from lode.app.prices.contracts import REPORTED, Charge, Units
from lode.app.prices.periods import Period
from lode.app.prices.plan import Plan, PlanCharge
from lode.app.prices.subscription import Subscription
from lode.core import money

_REMEMBERED = 1024
"""Bounds that a tariff remembers: requests come in few sizes."""

GRAIN = 10**12
"""Parts of 10^-12 in which charges per request keep what is left over."""


class Rated(NamedTuple):
    """charges: amount by charge, 10^-12 units. counters: what to add to counters. amount: sum of `charges`."""

    charges: dict[str, int]
    counters: dict[str, int]
    amount: int


class _Priced:
    """A charge, ready for the hot path."""

    __slots__ = ("cap", "carried", "charge", "name", "opening", "per_request", "reported", "units", "whole")

    def __init__(self, item: PlanCharge, carried: Mapping[str, int]):
        self.name = item.name
        self.charge: Charge = item.charge
        self.units = item.charge.units
        self.per_request = item.charge.per_request
        self.reported = REPORTED in item.charge.units
        self.whole: Callable[[Units], int] | None = item.charge.whole()
        self.opening = pico(item.charge.opening())
        self.cap = None if item.cap is None else max(0, item.cap - self.opening)
        self.carried = {unit: carried.get(part, 0) for unit, part in zip(self.units, parts(item.name, self.units), strict=True)}
        if self.cap is not None and any(self.carried.values()):
            self.whole = None  # what is carried counts towards the cap


class _Names(NamedTuple):
    """Names of one charge's counters in one period."""

    amount: str
    rest: str
    quantities: tuple[str, ...]


class Tariff:
    """A plan as it applies to one organisation's use of one model.

    Valid while the books' plans and subscriptions stay as they are and `covers(at_us)`; cheap to keep, safe between threads.
    """

    def __init__(self, plan: Plan, subscription: Subscription, model: str, within: Period | None = None):
        """within: the only period that this plan prices, where a correction gave others another one."""
        self.plan = plan
        self._within = within
        self.subscription = subscription
        self.currency = plan.currency
        self._priced = tuple(_Priced(item, subscription.carried) for item in plan.for_model(model))
        self._units = tuple({unit: None for item in self._priced for unit in item.units})
        self._most: dict[tuple[int, ...], int] = {}
        self._most_in = ""  # the period in which those bounds hold
        self._period: Period | None = None
        self._names: tuple[str, tuple[_Names, ...], tuple[str, ...]] = ("", (), ())

    def covers(self, at_us: int) -> bool:
        """Whether the subscription, and this plan of it, hold at a moment."""
        within = self._within
        return self.subscription.covers(at_us) and (within is None or within.start_us <= at_us < within.end_us)

    def period(self, at_us: int) -> Period:
        """The period that a moment falls into; its `label` goes into `Used.period`, its `trial` says that usage is given away."""
        period = self._period
        if period is None or not period.start_us <= at_us < period.end_us:
            period = self._period = self.subscription.period(at_us)
        return period

    def takes(self, cost_currency: str) -> bool:
        """Whether provider costs of this currency can be priced: every charge that reads them is for it."""
        readers = [item.charge for item in self._priced if "provider_cost" in item.units]
        return all((charge.cost_currency or self.currency) == cost_currency for charge in readers)

    @property
    def depends(self) -> bool:
        """Whether the price of a request depends on what was used before: tiers, packages, free units, caps."""
        return any(item.cap is not None or not (item.whole or item.per_request) for item in self._priced)

    def most(self, units_most: Units, label: str, before: Mapping[str, int] | None = None) -> int:
        """What a request with at most these units can cost in a period, 10^-12 units, whatever is used until then.

        before: counters as they were at some time in the period; None: as this was asked last. What was used only grows, so a bound holds
        for the rest of the period, and is as close as `before` is new. Called on the event loop.
        """
        if label != self._most_in:
            self._most.clear()
            self._most_in = label
        asked = tuple([units_most.get(unit, 0) for unit in self._units])
        known = self._most.get(asked) if before is None else None
        if known is None:
            if len(self._most) >= _REMEMBERED:
                self._most.clear()
            known = self._most[asked] = self.bound(units_most, label, before or {}, later=True)
        return known

    def bound(self, units_most: Units, label: str, before: Mapping[str, int], *, later: bool) -> int:
        """The same, counted anew. later: whether others may use something first; else it is settled with exactly `before`."""
        total, carries = 0, label == self.subscription.first_label
        for item, names in zip(self._priced, self._known(label)[1], strict=True):
            start = {
                unit: before.get(name, 0) + (item.carried[unit] if carries else 0)
                for unit, name in zip(item.units, names.quantities, strict=True)
            }
            if item.reported and REPORTED not in units_most:
                continue
            exact = item.charge.most(start, units_most, later=later)
            most = -(-exact.numerator * money.UNIT // exact.denominator)
            if item.cap is not None:
                alone = item.whole is not None or item.per_request
                spent = before.get(names.amount, 0) if alone else pico(item.charge.amount({}, start))
                most = min(most, max(0, item.cap - spent))
            total += most
        return total

    def names(self, period: str | Period) -> tuple[str, ...]:
        """Counters that `rate` must be told. period: it, or its label."""
        return self._known(period if isinstance(period, str) else period.label)[2]

    def rate(self, before: Mapping[str, int], units: Units, period: str | Period) -> Rated:
        """What one request costs. before: counters by name, those of `names` at least; what is missing is 0."""
        label = period if isinstance(period, str) else period.label
        charges: dict[str, int] = {}
        counters: dict[str, int] = {}
        total = 0
        for item, names in zip(self._priced, self._known(label)[1], strict=True):
            used = False
            if item.reported and REPORTED not in units:
                continue
            for unit, name in zip(item.units, names.quantities, strict=True):
                count = units.get(unit)
                if count:
                    counters[name] = count
                    used = True
            if not used:
                continue
            if item.whole is not None:
                amount = item.whole(units)
            elif item.per_request:
                amount = _alone(item, names, before, units, counters)
            else:
                amount = self._step(item, names, before, units, label)
            if item.cap is not None and (item.whole is not None or item.per_request):
                amount = min(amount, item.cap - before.get(names.amount, 0))
            charges[item.name] = amount
            if amount:
                counters[names.amount] = amount
                total += amount
        return Rated(charges, counters, total)

    def _step(self, item: _Priced, names: _Names, before: Mapping[str, int], units: Units, label: str) -> int:
        """From one sum to the next."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        carries = label == self.subscription.first_label
        for unit, name in zip(item.units, names.quantities, strict=True):
            count = before.get(name, 0) + (item.carried[unit] if carries else 0)
            first[unit], last[unit] = count, count + units.get(unit, 0)
        low, high = pico(item.charge.amount({}, first)), pico(item.charge.amount({}, last))
        return high - low if item.cap is None else min(high, item.cap) - min(low, item.cap)

    def _known(self, label: str) -> tuple[str, tuple[_Names, ...], tuple[str, ...]]:
        """Names of counters in the period asked for last."""
        known = self._names
        if known[0] != label or not known[0]:
            made = tuple(self._named(item, label) for item in self._priced)
            read = [name for item, names in zip(self._priced, made, strict=True) for name in _read(item, names)]
            known = self._names = (label, made, tuple(read))
        return known

    def _named(self, item: _Priced, label: str) -> _Names:
        id = self.subscription.id
        quantities = tuple(counter("quantity", id, label, part) for part in parts(item.name, item.units))
        return _Names(counter("amount", id, label, item.name), counter("rest", id, label, item.name), quantities)


def counter(word: str, subscription: str, period: str, part: str) -> str:
    """The name of a counter. word: "amount", "quantity" or "rest". part: the charge, or `CHARGE.UNIT`."""
    return f"{word}|{subscription}|{period}|{part}"


def parts(charge: str, units: tuple[str, ...]) -> tuple[str, ...]:
    """How a charge's quantities are called: by itself, or by `CHARGE.UNIT` where it counts several."""
    return (charge,) if len(units) == 1 else tuple(f"{charge}.{unit}" for unit in units)


def pico(exact: Fraction) -> int:
    """Units of the currency in 10^-12 of it, rounded down."""
    whole: int = exact.numerator * money.UNIT // exact.denominator
    return whole


def _read(item: _Priced, names: _Names) -> tuple[str, ...]:
    """Counters on which an amount depends."""
    if item.whole is None and not item.per_request:
        return names.quantities
    read = () if item.whole is not None else (names.rest,)
    return read if item.cap is None else (*read, names.amount)


def _alone(item: _Priced, names: _Names, before: Mapping[str, int], units: Units, counters: dict[str, int]) -> int:
    """A request that is priced by itself; what is finer than 10^-12 waits in `rest` until it is whole."""
    exact = item.charge.amount({}, units)
    rest = before.get(names.rest, 0)
    fine, left = divmod(exact.numerator * money.UNIT * GRAIN, exact.denominator)
    assert left == 0, f"{item.name}: a charge per request must be a multiple of 10^-24"
    amount: int = (rest + fine) // GRAIN
    after = (rest + fine) % GRAIN
    if after != rest:
        counters[names.rest] = after - rest
    return amount
