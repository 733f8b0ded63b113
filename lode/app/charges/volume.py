"""All units cost the price of the tier that the period's last unit reaches: `u * price(tier) + flat(tier)`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from lode.app.prices import tiers as tiers_of
from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Volume(Charge):
    """One price for all units of a period, by how many there are. One more unit can lower the bill. A boundary belongs to the lower tier.

    Args:
        tiers: Tiers in ascending order, `{up_to = 1000, price = "0.01", flat = "5"}`; the last has no `up_to`. Only the tier that
            is reached counts, with its `flat`.
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

    @property
    def falls(self) -> bool:
        """Whether the sum is lower just behind some boundary."""
        return any(self._total(end + 1) < self._total(end) for end in self._tiers.ends)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """The difference of two sums; below 0 where a cheaper tier is reached."""
        start = before.get(self._unit, 0)
        return Fraction(self._total(start + usage.get(self._unit, 0)) - self._total(start), money.UNIT * self._per)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """In the dearest place of the tiers that are still to come, for as many units or fewer."""
        least, count = before.get(self._unit, 0), usage.get(self._unit, 0)
        ends = self._tiers.ends
        rise = tiers_of.widest(self._total, ends, count, least=least, later=later, falls=True)
        return Fraction(rise, money.UNIT * self._per)

    def opening(self) -> Fraction:
        """The first tier's flat, where it is due at 0."""
        return Fraction(self._tiers.flats[0] if self._at_zero else 0, money.UNIT)

    def _total(self, quantity: int) -> int:
        """What a period's units cost, times 10^12 * per."""
        if quantity == 0 and not self._at_zero:
            return 0
        index = self._tiers.index(quantity)
        return quantity * self._tiers.prices[index] + self._tiers.flats[index] * self._per
