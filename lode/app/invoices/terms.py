"""What a customer's contracts make due: its periods, and for each the sums that documents should hold by now.

A document's line is what should be billed by now less what earlier documents hold (the counters `billed|...`), so a period that is
closed twice costs nothing the second time, and late usage changes true-ups by exactly what it should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lode.app.books import journal
from lode.app.books.contracts import Session
from lode.app.invoices import customers
from lode.app.invoices.selection import Part
from lode.app.prices import contracts, coupons, lines, plans, subscriptions
from lode.app.prices.periods import Period, label_of
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import counter

PriceLine = contracts.Line


@dataclass(frozen=True, slots=True)
class Cut:
    """A period of a subscription, cut where the plan changed or the contract ended. plan: what prices it; replaced: what did before,
    where a correction gave it another price.
    """

    subscription: Subscription
    plan: Plan
    period: Period
    replaced: tuple[Plan, ...] = ()

    @property
    def name(self) -> str:
        """As counters and usage name it."""
        return f"{self.subscription.id}|{self.period.label}"

    def tax_of(self, name: str) -> str:
        """The tax category of a fee or a charge."""
        return next((plan.taxes[name] for plan in (self.plan, *self.replaced) if name in plan.taxes), "")


@dataclass(frozen=True, slots=True)
class Group:
    """What one invoice closes: the cuts of one period of the calendar, in order. key: its first moment, ISO 8601 UTC."""

    cuts: tuple[Cut, ...]

    @property
    def key(self) -> str:
        return label_of(self.start_us)

    @property
    def start_us(self) -> int:
        return self.cuts[0].period.start_us

    @property
    def end_us(self) -> int:
        return self.cuts[-1].period.end_us

    @property
    def zone(self) -> str:
        return self.cuts[-1].subscription.zone

    @property
    def label(self) -> str:
        """Its first day in the contract's zone: how people name it."""
        return customers.moment(self.start_us).astimezone(customers.zone(self.zone)).date().isoformat()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(cut.name for cut in self.cuts)


def groups(session: Session, organisation: str, now_us: int) -> list[Group]:
    """Every period of a customer's contracts that has begun, oldest first."""
    found: list[list[Cut]] = []
    last: dict[str, list[Cut]] = {}
    roots: dict[str, str] = {}
    for subscription in subscriptions.all_of(session, organisation):
        # a change of plan stays on one invoice; a contract that begins anew in the same month is another
        root = roots[subscription.id] = roots.get(subscription.previous, subscription.id)
        for period in subscription.periods(now_us + 1):
            # who goes from years to months and back to years has two parts of the same year, and what was between is closed
            if root not in last or not last[root][-1].period.is_of_one(period):
                last[root] = []
                found.append(last[root])
            last[root].append(cut_of(session, subscription, period))
    return sorted((Group(tuple(cuts)) for cuts in found), key=lambda group: group.start_us)


def cut_of(session: Session, subscription: Subscription, period: Period) -> Cut:
    """A period with the plan that prices it."""
    *replaced, plan = [plans.found(session, subscription.plan, version) for version in subscription.versions_at(period.start_us)]
    return Cut(subscription, plan, period, tuple(replaced))


def advance(cut: Cut) -> list[PriceLine]:
    """Due at the start of a cut, as it was planned then; and the credit of what of it was not used after all."""
    debited = lines.in_advance(cut.plan, cut.subscription, cut.period.start_us)
    planned = cut.subscription.planned(cut.period.start_us)
    short = lines.unused(cut.plan, debited, cut.period.end_us) if cut.period.end_us < planned.end_us else []
    return [*debited, *short]


def arrears(cut: Cut, part: Part | None) -> list[PriceLine]:
    """Due when a cut has ended, usage left out: fees, flat first tiers, true-ups, the plan's cap."""
    return [line for line in _closing(cut, part) if line.kind != "usage"]


def under_cap(cut: Cut, part: Part | None) -> dict[str, int]:
    """What the plan's cap is put on when a cut has ended, by tax category; what earlier documents hold of it, too."""
    found: dict[str, int] = {}
    for line in _closing(cut, part) if cut.plan.cap is not None else ():
        if line.kind != "cap":
            category = cut.tax_of(line.name)
            found[category] = found.get(category, 0) + whole(line.amount)
    return {category: amount for category, amount in found.items() if amount > 0}


def _closing(cut: Cut, part: Part | None) -> list[PriceLine]:
    counters: dict[str, int] = {}
    if part is not None:
        for word, known in (("amount", part.whole.charges), ("quantity", part.whole.quantities)):
            counters |= {counter(word, part.subscription, part.period, name): value for name, value in known.items()}
    return lines.closing(cut.plan, cut.subscription, cut.period, counters)


def whole(amount: Fraction) -> int:
    """Exact amounts of time's parts in whole 10^-12, half away from zero; lines are rounded to coins from there."""
    size = (2 * abs(amount.numerator) + amount.denominator) // (2 * amount.denominator)
    return size if amount >= 0 else -size


def billed_name(cut: Cut, line: PriceLine) -> str:
    """The counter that holds what documents have of a line."""
    return f"billed|{cut.name}|{line.kind}.{line.name}"


def discounts(session: Session, group: Group, groups: Sequence[Group], total: int) -> Iterable[tuple[str, int]]:
    """(code, 10^-12 to take off `total`) of each coupon that counts for a group, one after the other. groups: all of the customer."""
    last = group.cuts[-1]
    for entry in last.subscription.coupons:
        coupon = coupons.found(session, entry["coupon"])
        earlier = [
            other.cuts[-1].period
            for other in groups
            if other.start_us < group.start_us and entry in other.cuts[-1].subscription.coupons
        ]
        if coupons.applies(coupon, entry, earlier, last.period):
            taken = coupons.discount(coupon, total)
            total -= taken
            yield coupon.code, taken


def counters_of(session: Session, names: Sequence[str]) -> Mapping[str, int]:
    """Counters; those that do not exist are 0."""
    return journal.counter(session, list(names)) if names else {}
