"""Credit that is bought in advance and used up by requests: a line when a period begins, and a grant in the books."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from lode.app.prices.contracts import PERIODS, Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Prepaid(Charge):
    """A pack of credit for a price. How it is drawn down: `lode/app/invoices/wallet.py`.

    Args:
        price: What the pack costs.
        credit: Credit in it; as much as it costs where this is not written.
        every: Sold at the start of each period, or once.
        expires_days: Days after which what is left of it is lost to breakage; 0 for never.
        priority: Lower numbers are used up first.
    """

    due = "period"

    def __init__(
        self,
        currency: str,
        *,
        price: Annotated[Decimal, Range(0)],
        credit: Annotated[Decimal | None, Range(0)] = None,
        every: Literal["period", "once"] = "period",
        expires_days: Annotated[int, Range(0, 36500)] = 0,
        priority: Annotated[int, Range(0, 1000)] = 100,
    ) -> None:
        options = Options()
        self._price = options.amount(price, "price")
        self.credit = self._price if credit is None else options.amount(credit, "credit")
        if not self._price:
            options.add(
                ("price",), "found 0, allowed: more than 0: what nobody pays for is no line of a bill. Use `lode credit goodwill`."
            )
        options.done()
        self._once = every == "once"
        self.expires_days = expires_days
        self.priority = priority

    @property
    def units(self) -> tuple[str, ...]:
        """Periods that have begun."""
        return (PERIODS,)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """The packs sold as periods begin."""
        start = before.get(PERIODS, 0)
        packs = self._packs(start + usage.get(PERIODS, 0)) - self._packs(start)
        return Fraction(packs * self._price, money.UNIT)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """No request makes it dearer."""
        return Fraction(0)

    def _packs(self, periods: int) -> int:
        return min(periods, 1) if self._once else periods
