"""What a provider took for a request, and a share on top: `max(floor, cost * exchange * (1 + markup))`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range

_PLACES = 6
_COST = "provider_cost"


class CostPlus(Charge):
    """A provider's cost of each request with a margin. The plan's version freezes both the margin and the rate of exchange.

    Args:
        markup: Share on top of the cost, "0.2" for 20 %; at most 6 decimals.
        floor: Least for one request.
        exchange: Units of the plan's currency for one unit of the provider's; at most 6 decimals. A new rate is a new version of the plan.
        provider_currency: Currency of the provider's prices, three letters, where it is not the plan's.
    """

    per_request = True

    def __init__(
        self,
        currency: str,
        *,
        markup: Annotated[Decimal, Range(0, 1000)],
        floor: Annotated[Decimal, Range(0)] = Decimal("0"),
        exchange: Annotated[Decimal, Range(0, open_low=True)] = Decimal("1"),
        provider_currency: str | None = None,
    ) -> None:
        options = Options()
        share = Fraction(_fine(markup, "markup", options), money.UNIT)
        rate = Fraction(_fine(exchange, "exchange", options), money.UNIT)
        self._floor = Fraction(options.amount(floor, "floor"), money.UNIT)
        if provider_currency is None and rate != 1:
            options.add(("exchange",), f'found {exchange} without provider_currency, allowed: 1. Write provider_currency = "USD".')
        if provider_currency is not None and len(provider_currency) != 3:
            options.add(("provider_currency",), f'found "{provider_currency[:40]}", allowed: three capital letters. Write "USD".')
        options.done()
        self._factor = (1 + share) * rate / money.UNIT
        self._cost_currency = provider_currency or ""

    @property
    def cost_currency(self) -> str:
        """A cost in any other currency would be billed at a rate that nobody wrote."""
        return self._cost_currency

    @property
    def units(self) -> tuple[str, ...]:
        """The requests, which a bill shows, and the cost, which it does not."""
        return ("requests", _COST)

    def amount(self, before: Units, usage: Units) -> Fraction:
        """Of `requests` equal requests; 0 where there is none."""
        count = usage.get("requests", 0)
        return max(count * self._floor, usage.get(_COST, 0) * self._factor) if count else Fraction(0)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """It costs the same whatever was before, and no less for more."""
        return self.amount({}, usage)


def _fine(value: Decimal, name: str, options: Options) -> int:
    """A factor in 10^-12, of at most 6 decimals: a product of two and an amount is then a multiple of 10^-24."""
    found = options.amount(value, name)
    if found % 10 ** (12 - _PLACES):
        options.add((name,), f"found {format(value, 'f')}, allowed: at most {_PLACES} decimals. Shorten it.")
    return found
