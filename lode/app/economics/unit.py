"""Unit economics of one line: break-even, contribution, payback, lifetime value, net revenue retention. Exact fractions in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lode.app.economics.margin import Line, amount

_Z = 1.959963984540054
"""97.5 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """price, variable: per served request. price_needed: at which this volume covers its costs and the fixed ones."""

    price: Fraction
    variable: Fraction
    price_needed: Fraction
    volume_needed: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "price": amount(self.price), "variable_cost": amount(self.variable), "contribution": amount(self.price - self.variable),
            "break_even_price": amount(self.price_needed), "break_even_volume": self.volume_needed,
        }  # fmt: skip


def break_even(line: Line, fixed: Fraction) -> BreakEven | None:
    """Of a line that served something. fixed: costs of the window that do not grow with requests. None where nothing was served.

    Volume is F/(p - v), rounded up; None where a request costs as much as it brings, which no volume mends.
    """
    if not line.served:
        return None
    price, variable = line.revenue / line.served, line.cost / line.served
    contribution = price - variable
    volume = math.ceil(fixed / contribution) if contribution > 0 else None
    return BreakEven(price, variable, variable + fixed / line.served, volume)


def payback_months(acquisition: Fraction, revenue_month: Fraction, margin: Fraction) -> Fraction | None:
    """Months until a customer's margin has paid for winning it; None where it never does."""
    return acquisition / (revenue_month * margin) if revenue_month > 0 and margin > 0 else None


@dataclass(frozen=True, slots=True)
class Kept:
    """Customers from one month to the next. revenue: of the first month, and what it became."""

    customers: int
    lost: int
    start: Fraction
    expansion: Fraction
    contraction: Fraction
    churned: Fraction

    @property
    def churn(self) -> Fraction | None:
        """Share of customers that were lost; None of none."""
        return Fraction(self.lost, self.customers) if self.customers else None

    @property
    def retention(self) -> Fraction | None:
        """Net revenue retention: (start + expansion - contraction - churn) / start."""
        return (self.start + self.expansion - self.contraction - self.churned) / self.start if self.start > 0 else None


def kept(before: Mapping[str, Fraction], after: Mapping[str, Fraction]) -> Kept:
    """Revenue by customer of two months that follow one another; who comes new in the second does not count."""
    had = {name: value for name, value in before.items() if value > 0}
    changes = {name: after.get(name, Fraction(0)) - value for name, value in had.items()}
    lost = [name for name in had if after.get(name, Fraction(0)) <= 0]
    return Kept(
        customers=len(had), lost=len(lost), start=sum(had.values(), Fraction(0)),
        expansion=sum((change for change in changes.values() if change > 0), Fraction(0)),
        contraction=-sum((change for name, change in changes.items() if change < 0 and name not in lost), Fraction(0)),
        churned=sum((had[name] for name in lost), Fraction(0)),
    )  # fmt: skip


def lifetime_value(revenue_month: Fraction, margin: Fraction, customers: int, lost: int) -> dict[str, Any] | None:
    """ARPA x GM / churn with the 95 % interval of churn (Wilson 1927) carried through. None where nobody left: then it has no bound."""
    if not lost or not customers or margin <= 0:
        return None
    low, high = _wilson(lost, customers)
    value = revenue_month * margin
    return {
        "ltv": amount(value * customers / lost), "low": amount(value / Fraction(high)), "high": amount(value / Fraction(low)),
        "customers": customers, "lost": lost,
    }  # fmt: skip


def _wilson(hits: int, count: int) -> tuple[float, float]:
    share, z2 = hits / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(middle - half, 1e-12), min(middle + half, 1.0)
