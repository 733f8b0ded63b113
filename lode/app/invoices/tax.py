"""Tax of the lines of a document, by the seller's table: inclusive or exclusive, rounded per line or per document."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from lode.app.invoices import customers
from lode.app.invoices.documents import Line
from lode.app.invoices.seller import Rate, Seller
from lode.core import money
from lode.core.errors import BillingError


@dataclass(frozen=True, slots=True)
class Tax:
    """One row of a document's tax summary. base: without the tax; amount: the tax; both whole coins.

    name: also on the lines ("VAT 19 %"). percent: text, "0" with reverse charge. note: what the law wants to read.
    """

    name: str
    percent: str
    base: int
    amount: int
    note: str = ""

    def body(self) -> dict[str, Any]:
        written = {"name": self.name, "percent": self.percent, "base": money.plain(self.base), "amount": money.plain(self.amount)}
        return {**written, "note": self.note} if self.note else written

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Tax:
        """The row that `body` wrote."""
        base, amount = (money.parse(body[name], f"tax.{name}", least=None) for name in ("base", "amount"))
        return cls(body["name"], body["percent"], base, amount, body.get("note", ""))


@dataclass(frozen=True, slots=True)
class Taxed:
    """Lines with their rate's name, and the summary. inclusive: the lines' amounts hold the tax."""

    lines: tuple[Line, ...]
    taxes: tuple[Tax, ...]
    inclusive: bool

    @property
    def tax(self) -> int:
        return sum(row.amount for row in self.taxes)

    @property
    def gross(self) -> int:
        """What is to be paid for the lines, tax included."""
        lines = sum(line.amount for line in self.lines)
        return lines if self.inclusive else lines + self.tax


def taxed(
    lines: Sequence[Line], seller: Seller, customer: Mapping[str, Any], currency: str, day: datetime.date, zone: str
) -> Taxed:
    """The lines of a document for a customer, each at the rate of its own last day: a document holds late usage and fees in advance, too.

    day: the latest that counts (of usage so far), fees in advance apart; zone: whose days. Prepaid credit is not taxed when it is sold
    but when it is used: its use is a line of its own. Errors: BillingError where the table has no rate, or the customer no country.
    """
    if not seller.rates:
        return Taxed(tuple(lines), (), False)
    country = str(customer.get("country") or "")
    if not country:
        raise BillingError(
            f"customer {customer.get('id', '')}: has no country, so no tax rate can be found. "
            f"Say where it is: lode customers change {customer.get('id', 'CUSTOMER')} --country DE."
        )
    # a price that holds a tax which is not due here: the customer pays the price without it
    has_id = country[:2] != seller.country[:2] and bool(customer.get("tax_id"))
    is_reverse = has_id and seller.rate(country, day).reverse_charge
    inclusive = seller.prices == "inclusive" and not is_reverse
    named: list[Line] = []
    rates: dict[str, Rate] = {}
    for line in lines:
        if line.kind == "prepaid":
            named.append(replace(line, tax=""))
            continue
        rate = seller.rate(country, _last_day(line, day, zone), line.category)
        name = f"{rate.name} 0 %, reverse charge" if is_reverse else f"{rate.name} {rate.text} %"
        named.append(replace(line, tax=name))
        rates[name] = rate
    if is_reverse:
        bases = {name: sum(line.amount for line in named if line.tax == name) for name in rates}
        return Taxed(
            tuple(named), tuple(Tax(name, "0", base, 0, seller.reverse_charge_note) for name, base in bases.items()), False
        )
    return Taxed(tuple(named), tuple(_row(name, rate, named, seller, currency) for name, rate in rates.items()), inclusive)


def _row(name: str, rate: Rate, lines: Sequence[Line], seller: Seller, currency: str) -> Tax:
    of_rate = [line for line in lines if line.tax == name]
    inclusive = seller.prices == "inclusive"
    amount = _amount(of_rate, rate, inclusive, seller.rounding == "line", currency)
    held = sum(line.amount for line in of_rate)
    return Tax(name, rate.text, held - amount if inclusive else held, amount)


def _last_day(line: Line, day: datetime.date, zone: str) -> datetime.date:
    """The last day of what a line is for; of usage not later than `day`."""
    if not line.end:
        return day
    last = customers.moment(customers.micros(line.end) - 1).astimezone(customers.zone(zone)).date()
    return min(last, day) if line.kind in ("usage", "waived", "trial") else last


def _amount(lines: Sequence[Line], rate: Rate, inclusive: bool, per_line: bool, currency: str) -> int:
    share = rate.percent / (100 + rate.percent) if inclusive else rate.percent / 100
    if per_line:
        return sum(money.coins(line.amount * share, currency) for line in lines)
    return money.coins(sum(line.amount for line in lines) * Fraction(share), currency)


def part(tax: Tax, gross_or_base: int, whole: int, credited: int, currency: str) -> int:
    """The tax in a part of a row, rounded so that all parts together hold exactly the row's tax.

    gross_or_base: this part, in what the lines hold; whole: all of it; credited: parts before. All whole coins.
    """
    if whole == 0:
        return 0
    before = money.coins(Fraction(tax.amount * credited, whole), currency)
    return money.coins(Fraction(tax.amount * (credited + gross_or_base), whole), currency) - before
