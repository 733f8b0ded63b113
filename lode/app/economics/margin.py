"""Gross margin by customer, project, model and day, from the books that the invoices select from. Plain functions, exact amounts.

GM = (revenue - cost of what was sold) / revenue. Idle machines are no cost of any request: they are reported apart, as the cost at
100 % utilisation and the real one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lode.app.books.contracts import Store
from lode.app.economics import readings
from lode.app.economics.compute import HourPrice, ModelFacts
from lode.app.economics.readings import Cell, Name, Window
from lode.core import money
from lode.core.errors import BillingError, listed, near_miss

BY = ("customer", "project", "model", "day")
_NOTHING = Fraction(0)
_MONTH_DAYS = Fraction(487, 16)
"""A twelfth of 365.25 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a margin is counted with.

    price: of an hour of every model, wins over `models`, what their artifacts say. currency: of the report, "" for the only one that
    occurs. rates: currency -> what one unit of it is in `currency`. spread: requests over which making a model is written off, or
    `spread_months`; neither: not at all. floor: margin below which a line is marked. machine_us: of all machines, None where not told.
    """

    price: HourPrice | None = None
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    currency: str = ""
    rates: Mapping[str, Fraction] = field(default_factory=dict)
    spread: int | None = None
    spread_months: int | None = None
    floor: Fraction = Fraction(0)
    machine_us: int | None = None

    def price_of(self, model: str) -> HourPrice | None:
        """What an hour of a model's machine costs, None where nobody said."""
        found = self.models.get(model)
        return self.price or (found.price if found else None)


@dataclass(slots=True)
class Line:
    """Sums of a group, in 10^-12 units of the report's currency."""

    requests: int = 0
    served: int = 0
    own: int = 0
    rows: int = 0
    tokens: int = 0
    compute_us: int = 0
    unpriced_us: int = 0
    estimated: int = 0
    revenue: Fraction = Fraction(0)
    compute: Fraction = Fraction(0)
    provider: Fraction = Fraction(0)
    training: Fraction = Fraction(0)

    def add(self, other: Line) -> None:
        """The sums of both."""
        for name in Line.__slots__:
            if value := getattr(other, name):
                setattr(self, name, getattr(self, name) + value)

    @property
    def cost(self) -> Fraction:
        """Of what was sold, failed requests too."""
        return self.compute + self.provider + self.training

    @property
    def profit(self) -> Fraction:
        return self.revenue - self.cost

    @property
    def margin(self) -> Fraction | None:
        """Gross margin; None without revenue."""
        return self.profit / self.revenue if self.revenue > 0 else None

    @property
    def is_losing(self) -> bool:
        """Costs more than it brings; of a customer, a whale."""
        return self.profit < 0

    def to_json(self, floor: Fraction) -> dict[str, Any]:
        """Amounts as text. cost_per_1000: of successful requests, with what the failed ones cost."""
        margin = self.margin
        return {
            "requests": self.requests, "served": self.served, "failed": self.requests - self.served, "rows": self.rows,
            "tokens": self.tokens, "compute_s": _plain(Fraction(self.compute_us, 1_000_000)), "revenue": amount(self.revenue),
            "compute_cost": amount(self.compute), "provider_cost": amount(self.provider), "training_cost": amount(self.training),
            "cost": amount(self.cost), "gross_profit": amount(self.profit), "gross_margin": None if margin is None else _plain(margin, 4),
            "below_floor": self.is_losing or (margin is not None and margin < floor),
            "price_per_1000": _per_1000(self.revenue, self.served), "cost_per_1000": _per_1000(self.cost, self.served),
        }  # fmt: skip


def margin(
    store: Store, terms: Terms, span: Window, by: Sequence[str] = ("customer", "model"), *, model: str | None = None
) -> dict[str, Any]:
    """The report as JSON. model: of its requests only. Errors: BillingError for an unknown grouping, or currencies without a rate."""
    check_by(by)
    with store.view() as session:
        cells, machine_us = readings.cells(session, span, by, model), readings.machine_us(session, span, model)
    counted = Counted(terms, span, cells)
    groups: dict[tuple[str, ...], Line] = defaultdict(Line)
    customers: dict[str, Line] = defaultdict(Line)
    total = Line()
    for name in sorted(cells):
        keys = dict(zip(BY, (name[0], name[1], name[2], readings.shown_day(name[3])), strict=True))
        line = counted.line(name)
        groups[tuple(keys[word] for word in by)].add(line)
        customers[name[0]].add(line)
    for line in customers.values():
        total.add(line)
    losing = sorted((name for name, line in customers.items() if name and line.is_losing), key=lambda name: customers[name].profit)
    lines = [{**dict(zip(by, key, strict=True)), **line.to_json(terms.floor)} for key, line in sorted(groups.items())]
    return {
        "from": readings.shown_us(span.start_us), "to": readings.shown_us(span.end_us), "currency": counted.currency,
        "by": list(by), "lines": lines, "total": total.to_json(terms.floor), "floor": _plain(terms.floor, 4),
        "losing": [{"customer": name, "gross_profit": amount(customers[name].profit)} for name in losing],
        "share_losing": _plain(Fraction(len(losing), len([name for name in customers if name]) or 1), 4),
        "idle": _idle(terms, counted, total, terms.machine_us or machine_us), "prices": counted.prices(), "notes": counted.notes(total),
    }  # fmt: skip


def check_by(by: Sequence[str]) -> None:
    """Errors: BillingError for what one cannot group by."""
    for word in by:
        if word not in BY:
            raise BillingError(f'--by: found "{word}", allowed: {", ".join(BY)}.{near_miss(word, BY)} Write it so.')
    if len(set(by)) < len(by):
        raise BillingError(f"--by: found {','.join(by)}, wanted each word once. Leave one out.")


class Counted:
    """Cells with prices: adds them to lines in one currency."""

    def __init__(self, terms: Terms, span: Window, cells: Mapping[Name, Cell]):
        self.terms, self.cells = terms, cells
        self.currency = terms.currency or _only_currency(cells, terms)
        self._rates = terms.rates
        self._making = self._writing_off(span)

    def line(self, name: Name) -> Line:
        """What a cell comes to."""
        cell, price, made = self.cells[name], self.terms.price_of(name[2]), self._making.get(name[2])
        return Line(
            cell.requests, cell.served, cell.own, cell.rows, cell.tokens, cell.compute_us, cell.compute_us if price is None else 0,
            cell.estimated, self._converted(cell.revenue),
            _NOTHING if price is None else self.convert(price.cost(cell.compute_us), price.currency), self._converted(cell.provider),
            _NOTHING if made is None else made * cell.requests,
        )  # fmt: skip

    def convert(self, value: Fraction, currency: str) -> Fraction:
        """In the report's currency. Errors: BillingError where no rate is known."""
        if currency == self.currency:
            return value
        if currency not in self._rates:
            raise BillingError(
                f"--rate: found amounts in {currency} and a report in {self.currency}, and lode has no rates of exchange. "
                f"Give one, such as --rate {currency}=0.92."
            )
        return value * self._rates[currency]

    def prices(self) -> dict[str, Any]:
        """What an hour costs, by model."""
        found = {model: self.terms.price_of(model) for model in sorted({name[2] for name in self.cells if name[2]})}
        return {model: None if price is None else price.to_json() for model, price in found.items()}

    def notes(self, total: Line) -> list[str]:
        """What the figures leave out."""
        found = []
        if total.unpriced_us:
            unpriced = [model for model, price in self.prices().items() if price is None]
            found.append(
                f"{total.unpriced_us / 1e6:.3f} s of computing have no price ({listed(unpriced)}): the margin leaves them out. "
                'Give --price-per-hour "0.12 EUR"; or write `serve: {compute: {price_per_hour: "0.12", currency: EUR}}` into '
                "lode.yaml and `lode run` again: it packages the price and trains nothing."
            )
        if total.own:
            found.append(f"{total.own} of the requests are our own (checks, shadows): they cost, and bring nothing.")
        if total.estimated:
            found.append(f"{total.estimated} provider costs are estimated: the provider gave no usage figures.")
        if self.terms.rates:
            given = ", ".join(
                f"1 {currency} = {_plain(rate).rstrip('0').rstrip('.')} {self.currency}"
                for currency, rate in self.terms.rates.items()
            )
            found.append(f"Converted at rates that you gave: {given}.")
        return found

    def _converted(self, amounts: Mapping[str, int]) -> Fraction:
        found = [self.convert(Fraction(value), currency) for currency, value in amounts.items() if value]
        return found[0] if len(found) == 1 else sum(found, _NOTHING)

    def _writing_off(self, span: Window) -> dict[str, Fraction]:
        """Model -> its share of the cost of making it, for one request."""
        found = {}
        for model, facts in self.terms.models.items():
            price, requests = (
                self.terms.price_of(model),
                sum(cell.requests for name, cell in self.cells.items() if name[2] == model),
            )
            if price is None or not requests:
                continue
            whole = self.convert(price.cost(facts.made_s * 1_000_000), price.currency)
            if self.terms.spread_months:
                found[model] = whole * Fraction(span.days) / _MONTH_DAYS / self.terms.spread_months / requests
            elif self.terms.spread:
                found[model] = whole / self.terms.spread
        return found


def amount(value: Fraction | int) -> str:
    """10^-12 units as decimal text; halves of a unit go away from zero."""
    exact = Fraction(value)
    rounded = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
    return money.plain(rounded if exact >= 0 else -rounded)


def _idle(terms: Terms, counted: Counted, total: Line, machine_us: int) -> dict[str, Any] | None:
    """The machine's time that no request used, at the price of an hour. None where either is not known or prices differ."""
    prices = {price for name in counted.cells if name[2] and (price := terms.price_of(name[2])) is not None}
    if not machine_us or len(prices) != 1:
        return None
    price = next(iter(prices))
    real = counted.convert(price.cost(max(machine_us, total.compute_us)), price.currency)
    return {
        "machine_hours": _plain(Fraction(machine_us, 3_600_000_000), 4), "utilisation": _plain(Fraction(total.compute_us, machine_us), 4),
        "cost_at_full_utilisation": amount(total.compute), "cost_real": amount(real), "cost_idle": amount(real - total.compute),
        "margin_with_idle": None if total.revenue <= 0 else _plain((total.profit - real + total.compute) / total.revenue, 4),
    }  # fmt: skip


def _only_currency(cells: Mapping[Name, Cell], terms: Terms) -> str:
    found = {currency for cell in cells.values() for currency, value in cell.revenue.items() if value}
    found |= set() if found else {currency for cell in cells.values() for currency in cell.provider}
    if not found:
        prices = [terms.price, *(facts.price for facts in terms.models.values())]
        return next((price.currency for price in prices if price is not None), "EUR")
    if len(found) > 1:
        first = sorted(found)[0]
        raise BillingError(
            f"--currency: found revenue in {listed(sorted(found))}, and lode has no rates of exchange. Say in which to report and give "
            f"the rates, such as --currency {first} --rate {sorted(found)[1]}=0.92."
        )
    return found.pop()


def _per_1000(value: Fraction, count: int) -> str | None:
    return amount(value * 1000 / count) if count else None


def _plain(value: Fraction, decimals: int = 6) -> str:
    return f"{Decimal(round(value * 10**decimals)).scaleb(-decimals):f}"
