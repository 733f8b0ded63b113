"""Each unit costs the price of the tier that it falls into: `sum((min(u, end) - start)+ * price) + flat of each tier touched`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from lode.app.prices import tiers as tiers_of
from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Graduated(Charge):
    """Prices by tier, each unit at the price of its own tier. A boundary belongs to the lower tier.

    Args:
        tiers: Tiers in ascending order, `{up_to = 1000, price = "0.01", flat = "5"}`; the last has no `up_to`. `flat` is due once
            per period, when the tier's first unit is used.
        unit: What is counted: requests, rows, input_tokens, output_tokens, compute_us, ...
        per: Units that a tier's `price` buys; 1000000 for prices per million.
        flat_at_zero: Whether the first tier's flat is due in a period in which nothing is used; must be written where it has one.
    """

    def __init__(
        self,
        currency: str,
        *,
        tiers: list[dict[str, Any]],
        unit: str = "requests",
        per: Annotated[int, Range(1, 1000000000)] = 1,
        flat_at_zero: bool | None = None,
    ) -> None:
        options = Options()
        self._tiers = tiers_of.read(tiers, options)
        self._unit = options.unit(unit, "unit")
        if self._tiers.flats[0] and flat_at_zero is None:
            text = "found nothing beside a flat in the first tier, allowed: true (due without usage) or false. Write flat_at_zero = false."
            options.add(("flat_at_zero",), text)
        options.done()
        self._per, self._at_zero = per, bool(flat_at_zero)

    @property
    def units(self) -> tuple[str, ...]:
        """The one it counts."""
        return (self._unit,)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """The difference of two sums."""
        start = before.get(self._unit, 0)
        return Fraction(self._total(start + usage.get(self._unit, 0)) - self._total(start), money.UNIT * self._per)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """In the dearest place of the tiers that are still to come."""
        least, count = before.get(self._unit, 0), usage.get(self._unit, 0)
        ends = self._tiers.ends
        rise = tiers_of.widest(self._total, ends, count, least=least, later=later, falls=False)
        return Fraction(rise, money.UNIT * self._per)

    def opening(self) -> Fraction:
        """The first tier's flat, where it is due at 0."""
        return Fraction(self._tiers.flats[0] if self._at_zero else 0, money.UNIT)

    def _total(self, quantity: int) -> int:
        """What a period's units cost, times 10^12 * per."""
        tiers, start, total = self._tiers, 0, 0
        if quantity == 0:
            return tiers.flats[0] * self._per if self._at_zero else 0
        for index in range(tiers.index(quantity) + 1):
            end = min(quantity, tiers.ends[index]) if index < len(tiers.ends) else quantity
            total += (end - start) * tiers.prices[index] + tiers.flats[index] * self._per
            start = end
        return total
