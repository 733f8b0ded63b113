"""One price for each unit: `max(0, units - free) * price`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Standard(Charge):
    """The same price for each unit, after some that are free.

    Args:
        price: Price of `per` units.
        unit: What is counted: requests, rows, input_tokens, output_tokens, compute_us, ...
        per: Units that `price` buys; 1000000 for prices per million.
        free: Units of each period that cost nothing; they come first.
    """

    def __init__(
        self,
        currency: str,
        *,
        price: Annotated[Decimal, Range(0)],
        unit: str = "requests",
        per: Annotated[int, Range(1, 1000000000)] = 1,
        free: Annotated[int, Range(0, 1000000000000000000)] = 0,
    ) -> None:
        options = Options()
        self._price = options.amount(price, "price")
        self._unit = options.unit(unit, "unit")
        options.done()
        self._per, self._free = per, free

    @property
    def units(self) -> tuple[str, ...]:
        """The one it counts."""
        return (self._unit,)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """Paid units of the two sums, times the price."""
        paid = self._paid(before.get(self._unit, 0), usage.get(self._unit, 0))
        return Fraction(self._price * paid, money.UNIT * self._per)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """Nothing free may be left."""
        return self.amount({self._unit: self._free} if later else before, usage)

    def _paid(self, start: int, count: int) -> int:
        return max(0, start + count - self._free) - max(0, start - self._free)

    def whole(self) -> Callable[[Units], int] | None:
        """Where nothing is free and a unit's price is whole."""
        price, rest = divmod(self._price, self._per)
        unit = self._unit
        return None if self._free or rest else lambda usage: price * usage.get(unit, 0)
