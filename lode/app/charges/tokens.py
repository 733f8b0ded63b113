"""Tokens of a language model: `(in - cached) * input + cached * cached + cache_write * ... + out * output + reasoning * ...`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from lode.app.prices.contracts import Charge, Options, Units
from lode.core import money
from lode.core.types import Range


class Tokens(Charge):
    """Each kind of token at its own price, as language models are sold.

    Args:
        input: Price of `per` input tokens that were not read from a cache.
        output: Price of `per` output tokens.
        cached: Price of `per` input tokens that were read from a cache; `input` where it is not written.
        cache_write: Price of `per` tokens written into a cache, beside their price as input.
        reasoning: Price of `per` reasoning tokens, beside their price as output.
        per: Tokens that a price buys; must be written, because a price per token and one per million look alike.
    """

    def __init__(
        self,
        currency: str,
        *,
        input: Annotated[Decimal, Range(0)],
        output: Annotated[Decimal, Range(0)],
        per: Literal[1, 1000, 1000000],
        cached: Annotated[Decimal | None, Range(0)] = None,
        cache_write: Annotated[Decimal, Range(0)] = Decimal("0"),
        reasoning: Annotated[Decimal, Range(0)] = Decimal("0"),
    ) -> None:
        options = Options()
        self._input = options.amount(input, "input")
        self._cached = self._input if cached is None else options.amount(cached, "cached")
        self._output = options.amount(output, "output")
        self._write = options.amount(cache_write, "cache_write")
        self._reasoning = options.amount(reasoning, "reasoning")
        options.done()
        self._per = per

    @property
    def units(self) -> tuple[str, ...]:
        """Input, output and cached tokens; the others where they have a price."""
        more = (("cache_write_tokens", self._write), ("reasoning_tokens", self._reasoning))
        return ("input_tokens", "output_tokens", "cached_tokens", *(name for name, price in more if price))

    def amount(self, before: Units, usage: Units) -> Fraction:
        """The difference of two sums."""
        both = {name: before.get(name, 0) + usage.get(name, 0) for name in self.units}
        return Fraction(self._total(both) - self._total(before), money.UNIT * self._per)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """Every input token at the dearer of its two prices."""
        total = usage.get("input_tokens", 0) * max(self._input, self._cached) + usage.get("output_tokens", 0) * self._output
        total += usage.get("cache_write_tokens", 0) * self._write + usage.get("reasoning_tokens", 0) * self._reasoning
        return Fraction(total, money.UNIT * self._per)

    def whole(self) -> Callable[[Units], int] | None:
        """Where the price of one token is whole."""
        prices = (self._input, self._cached, self._output, self._write, self._reasoning)
        if any(price % self._per for price in prices):
            return None
        new, old, out, write, reasoning = (price // self._per for price in prices)
        if write or reasoning:
            return lambda usage: self._total(usage) // self._per

        def plain(usage: Units) -> int:
            given, cached = usage.get("input_tokens", 0), usage.get("cached_tokens", 0)
            return (given - cached) * new + cached * old + usage.get("output_tokens", 0) * out

        return plain

    def _total(self, usage: Units) -> int:
        """Times 10^12 * per. cached_tokens are some of the input_tokens, never more."""
        given, cached = usage.get("input_tokens", 0), usage.get("cached_tokens", 0)
        total = (given - cached) * self._input + cached * self._cached + usage.get("output_tokens", 0) * self._output
        return total + usage.get("cache_write_tokens", 0) * self._write + usage.get("reasoning_tokens", 0) * self._reasoning
