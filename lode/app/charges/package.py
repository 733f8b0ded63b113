"""Units by the package, each begun one whole: `ceil((units - free)+ / size) * price`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Package(Charge):
    """So much for each package of units that is begun; the ceiling is of whole numbers, so it is exact.

    Args:
        price: Price of one package.
        size: Units in one package.
        unit: What is counted: requests, rows, input_tokens, output_tokens, compute_us, ...
        free: Units of each period that cost nothing; they come first.
    """

    def __init__(
        self,
        currency: str,
        *,
        price: Annotated[Decimal, Range(0)],
        size: Annotated[int, Range(1, 1000000000000000000)],
        unit: str = "requests",
        free: Annotated[int, Range(0, 1000000000000000000)] = 0,
    ) -> None:
        options = Options()
        self._price = options.amount(price, "price")
        self._unit = options.unit(unit, "unit")
        options.done()
        self._size, self._free = size, free

    @property
    def units(self) -> tuple[str, ...]:
        """The one it counts."""
        return (self._unit,)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """Packages begun since."""
        start = before.get(self._unit, 0)
        begun = self._packages(start + usage.get(self._unit, 0)) - self._packages(start)
        return Fraction(begun * self._price, money.UNIT)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """The package before may be full."""
        return self.amount({self._unit: self._free} if later else before, usage)

    def _packages(self, quantity: int) -> int:
        return -(-max(0, quantity - self._free) // self._size)
