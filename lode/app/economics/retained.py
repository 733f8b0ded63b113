"""Customers over time, and the break-even of a report: what `lode margin` says beside its table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from lode.app.books.contracts import Store
from lode.app.economics import readings
from lode.app.economics.margin import Counted, Line, Terms, amount
from lode.app.economics.readings import DAY_US, Window
from lode.app.economics.unit import break_even, kept, lifetime_value, payback_months
from lode.core import money


def units_of(found: Mapping[str, Any], fixed: Fraction) -> dict[str, Any] | None:
    """Break-even of the total of a margin report. fixed: 10^-12 units; idle machines come on top where they are known."""
    total = found["total"]
    line = Line(served=total["served"], revenue=_units(total["revenue"]), compute=_units(total["cost"]))
    idle = _units(found["idle"]["cost_idle"]) if found["idle"] else Fraction(0)
    even = break_even(line, fixed + idle)
    return None if even is None else even.to_json()


def customers_over_time(store: Store, terms: Terms, span: Window, acquisition: Fraction | None) -> dict[str, Any] | None:
    """The last two whole months in a window, compared. None where it holds fewer."""
    months = _last_two(span)
    if months is None:
        return None
    by_month = [_by_customer(store, terms, month) for month in months]
    before, after = ({name: line.revenue for name, line in lines.items()} for lines in by_month)
    change, lines = kept(before, after), list(by_month[1].values())
    revenue, profit = (sum((getattr(line, word) for line in lines), Fraction(0)) for word in ("revenue", "profit"))
    active = sum(line.revenue > 0 for line in lines)
    mean, margin = revenue / active if active else Fraction(0), profit / revenue if revenue > 0 else Fraction(0)
    back = None if acquisition is None else payback_months(acquisition, mean, margin)
    return {
        "months": [readings.shown_us(month.start_us)[:7] for month in months], "customers": change.customers, "lost": change.lost,
        "churn": _text(change.churn), "net_revenue_retention": _text(change.retention),
        "revenue_per_customer": _text(mean / money.UNIT, 6), "payback_months": _text(back, 1),
        "lifetime_value": lifetime_value(mean, margin, change.customers, change.lost),
    }  # fmt: skip


def _by_customer(store: Store, terms: Terms, span: Window) -> dict[str, Line]:
    with store.view() as session:
        cells = readings.cells(session, span, ())
    counted, found = Counted(terms, span, cells), defaultdict[str, Line](Line)
    for name in cells:
        if name[0]:
            found[name[0]].add(counted.line(name))
    return found


def _last_two(span: Window) -> tuple[Window, Window] | None:
    """Calendar months, UTC."""
    epoch = date(1970, 1, 1)
    end = (epoch + timedelta(days=span.end_us // DAY_US)).replace(day=1)
    middle = (end - timedelta(days=1)).replace(day=1)
    start = (middle - timedelta(days=1)).replace(day=1)
    first, second, third = ((day - epoch).days * DAY_US for day in (start, middle, end))
    return (Window(first, second), Window(second, third)) if first >= span.start_us else None


def _units(text: str) -> Fraction:
    units: Fraction = Fraction(text) * money.UNIT
    return units


def _text(value: Fraction | None, decimals: int = 4) -> str | None:
    return None if value is None else amount(round(value, decimals) * money.UNIT)
