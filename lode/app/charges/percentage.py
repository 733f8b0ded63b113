"""A share of each transaction: `value * rate + fixed`, at least `minimum` and at most `maximum` of each."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import MONEY, UNITS, Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Percentage(Charge):
    """A share of what each transaction is worth, or of how much each request counts; each is priced by itself.

    Args:
        rate: Share, "0.015" for 1.5 %; of a sum of money, or in units of the currency for each unit counted.
        unit: What it is a share of: transaction_value (what you report with `lode usage --import`; requests have none and cost nothing
            by this charge), provider_cost, or a unit that is counted, such as rows.
        fixed: Amount for each transaction, beside the share.
        minimum: Least for one transaction.
        maximum: Most for one transaction.
    """

    per_request = True

    def __init__(
        self,
        currency: str,
        *,
        rate: Annotated[Decimal, Range(0, 1000)],
        unit: str = "transaction_value",
        fixed: Annotated[Decimal, Range(0)] = Decimal("0"),
        minimum: Annotated[Decimal, Range(0)] = Decimal("0"),
        maximum: Annotated[Decimal | None, Range(0)] = None,
    ) -> None:
        options = Options()
        self._unit = options.unit(unit, "unit", allowed=UNITS)
        scale = money.UNIT if unit in MONEY else 1
        self._rate = Fraction(options.amount(rate, "rate"), money.UNIT * scale)
        self._fixed = Fraction(options.amount(fixed, "fixed"), money.UNIT)
        self._minimum = Fraction(options.amount(minimum, "minimum"), money.UNIT)
        self._maximum = None if maximum is None else Fraction(options.amount(maximum, "maximum"), money.UNIT)
        if self._maximum is not None and self._maximum < self._minimum:
            options.add(("maximum",), f"found {maximum}, allowed: at least the minimum, {minimum}. Correct one of them.")
        options.done()

    @property
    def units(self) -> tuple[str, ...]:
        """The transactions, and what it is a share of; of sums of money a bill shows the transactions."""
        if self._unit == "requests":
            return (self._unit,)
        return ("requests", self._unit) if self._unit in MONEY else (self._unit, "requests")

    def amount(self, before: Units, usage: Units) -> Fraction:
        """Of `requests` equal transactions; 0 where there is none."""
        count = usage.get("requests", 0)
        if not count:
            return Fraction(0)
        share = max(count * self._minimum, usage.get(self._unit, 0) * self._rate + count * self._fixed)
        return share if self._maximum is None else min(share, count * self._maximum)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """It costs the same whatever was before, and no less for more."""
        return self.amount({}, usage)
