"""Tax of the lines of a document, by the seller's table: inclusive or exclusive, rounded per line or per document."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

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


def taxed(lines: Sequence[Line], seller: Seller, customer: Mapping[str, Any], currency: str, day: datetime.date) -> Taxed:
    """The lines of a document for a customer. day: of the supply (its period's last), in the contract's zone.

    Errors: BillingError where the table has no rate, or the customer no country.
    """
    if not seller.rates:
        return Taxed(tuple(lines), (), False)
    country = str(customer.get("country") or "")
    if not country:
        raise BillingError(
            f"customer {customer.get('id', '')}: has no country, so no tax rate can be found. "
            "Say where it is: lode customers set ORGANISATION --country DE."
        )
    rate = seller.rate(country, day)
    assert rate is not None
    inclusive = seller.prices == "inclusive"
    is_reverse = rate.reverse_charge and country != seller.country and bool(customer.get("tax_id"))
    if is_reverse:
        # a price that holds a tax which is not due here: the customer pays the price without it
        name, base = f"{rate.name} 0 %, reverse charge", sum(line.amount for line in lines)
        row = Tax(name, "0", base, 0, seller.reverse_charge_note)
        return Taxed(tuple(replace(line, tax=name) for line in lines), (row,), False)
    name = f"{rate.name} {rate.text} %"
    named = tuple(replace(line, tax=name) for line in lines)
    amount = _amount(named, rate, inclusive, seller.rounding == "line", currency)
    held = sum(line.amount for line in named)
    return Taxed(named, (Tax(name, rate.text, held - amount if inclusive else held, amount),), inclusive)


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
