"""A least sum for each period, as a line of its own: `max(0, minimum * active / whole - sum of its charges)`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import ACTIVE_US, ELIGIBLE, WHOLE_US, Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Minimum(Charge):
    """What usage of a period must reach; the rest is one more line when the period ends. No other line changes.

    Args:
        amount: Least for a whole period; less in proportion to its seconds where the period is cut.
        of: Names of the charges that count towards it; "*" for all charges of usage.
    """

    due = "period"

    def __init__(self, currency: str, *, amount: Annotated[Decimal, Range(0)], of: list[str] | None = None) -> None:
        options = Options()
        self._amount = options.amount(amount, "amount")
        options.done()
        self._of = tuple(of or ("*",))

    @property
    def units(self) -> tuple[str, ...]:
        """What it is told at the period's end."""
        return (ELIGIBLE, ACTIVE_US, WHOLE_US)

    @property
    def of(self) -> tuple[str, ...]:
        """The charges that count."""
        return self._of

    def amount(self, before: Units, usage: Units) -> Fraction:
        """The true-up of one period."""
        whole = usage.get(WHOLE_US, 0)
        if not whole:
            return Fraction(0)
        missing = Fraction(self._amount * usage.get(ACTIVE_US, 0), whole) - usage.get(ELIGIBLE, 0)
        return missing / money.UNIT if missing > 0 else Fraction(0)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """No request makes it dearer: a line of the period, not of usage."""
        return Fraction(0)
