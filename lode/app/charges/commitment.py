"""A sum that the customer promised to spend: `max(0, amount * active / whole - sum of its charges)`, with a price for missing it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import ACTIVE_US, ELIGIBLE, WHOLE_US, Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Commitment(Charge):
    """A promised sum per period; what is missing at its end is one more line, wholly or in part.

    Args:
        amount: Promised for a whole period; less in proportion to its seconds where the period is cut.
        of: Names of the charges that count towards it; "*" for all charges of usage.
        share: Share of what is missing that is billed: "1" for all of it.
    """

    due = "period"

    def __init__(
        self,
        currency: str,
        *,
        amount: Annotated[Decimal, Range(0)],
        of: list[str] | None = None,
        share: Annotated[Decimal, Range(0, 1)] = Decimal("1"),
    ) -> None:
        options = Options()
        self._amount = options.amount(amount, "amount")
        self._share = Fraction(options.amount(share, "share"), money.UNIT)
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
        return missing * self._share / money.UNIT if missing > 0 else Fraction(0)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """No request makes it dearer: a line of the period, not of usage."""
        return Fraction(0)
