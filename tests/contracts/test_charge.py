"""Every charge keeps its contract."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from lode.app.prices.contracts import Charge, Units
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.charges import check_charge

TIERS = [{"up_to": 10, "price": "0.01"}, {"up_to": 1000, "price": "0.007", "flat": "2"}, {"price": "0.003"}]
RISING = [{"up_to": 100, "price": "0.001", "flat": "1.5"}, {"price": "0.004"}]
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "standard": [{"price": "0.002", "unit": "rows"}, {"price": "1", "per": 3, "free": 100}, {"price": 0}],
    "graduated": [{"tiers": TIERS}, {"tiers": RISING, "flat_at_zero": True}, {"tiers": TIERS[2:], "per": 7}],
    "volume": [{"tiers": TIERS}, {"tiers": RISING, "flat_at_zero": True}, {"tiers": RISING, "flat_at_zero": False, "unit": "rows"}],
    "package": [{"price": "5", "size": 10}, {"price": "0.10", "size": 1000, "free": 99, "unit": "rows"}],
    "tokens": [
        {"input": "0.15", "cached": "0.075", "output": "0.60", "per": 1000000},
        {"input": "1", "cached": "2", "output": "3.000001", "cache_write": "0.5", "reasoning": "4", "per": 1},
        {"input": "0.0000001", "output": "0", "per": 1000},
    ],
    "percentage": [
        {"rate": "0.015"},
        {"rate": "0.029", "fixed": "0.30", "minimum": "0.5", "maximum": "12"},
        {"rate": "0.001", "unit": "rows", "maximum": "1"},
        {"rate": "0.1", "unit": "requests"},
    ],
    "cost_plus": [{"markup": "0.2"}, {"markup": "0", "floor": "0.0001", "exchange": "0.921", "provider_currency": "USD"}],
    "minimum": [{"amount": "50"}, {"amount": Decimal("9.99"), "of": ["rows"]}],
    "commitment": [{"amount": "1000"}, {"amount": 1, "share": "0.5"}],
    "prepaid": [{"price": "100", "credit": "110", "expires_days": 365}, {"price": "20", "every": "once"}],
}
"""Options for each word; a new charge adds its own."""

CASES = [(word, options) for word in REGISTRIES["charge"].names() for options in SAMPLES.get(word, [{}])]


@pytest.mark.parametrize(("word", "options"), CASES)
def test_charge_keeps_its_contract(word: str, options: dict[str, Any]) -> None:
    check_charge(lambda: REGISTRIES["charge"].create(Component(word, options), "EUR"))


class Wrong(Charge):
    """Breaks one sentence of the contract at a time."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    @property
    def units(self) -> tuple[str, ...]:
        return ("rows",)

    def amount(self, before: Units, usage: Units) -> Fraction:
        count = usage.get("rows", 0)
        if self.fault == "float":
            return float(count)  # type: ignore[return-value]
        if self.fault == "portions":
            return Fraction(count**2)
        return Fraction(-count if self.fault == "negative" else count)

    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        return Fraction(usage.get("rows", 0) - 1 if self.fault == "reservation" else 10**12 * usage.get("rows", 0))

    def whole(self) -> Any:
        return (lambda usage: usage["rows"]) if self.fault == "quick" else None


@pytest.mark.parametrize("fault", ["float", "portions", "negative", "reservation", "quick"])
def test_the_suite_finds_a_charge_that_breaks_it(fault: str) -> None:
    check_charge(lambda: Wrong("none"))
    with pytest.raises(AssertionError):
        check_charge(lambda: Wrong(fault))
