"""The contract of a charge (one way to price usage), and what a bill's line is.

Pure and exact: whole numbers in, Fractions of the currency's unit out, rounded nowhere. Read `plan.py` next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Literal

from lode.core import money
from lode.core.check import Finding, dotted, unknown_word
from lode.core.errors import BillingError
from lode.core.types import Key

COUNTED = (
    "requests", "rows", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "compute_us",
    "request_bytes", "answer_bytes",
)  # fmt: skip
"""Units that are counted."""

REPORTED = "transaction_value"
"""What the seller says that a transaction is worth (`lode usage --import`): no request carries it, so its payer cannot."""

MONEY = ("provider_cost", REPORTED)
"""Units that are sums of money, in 10^-12 of a currency's unit: what a provider took; what a customer's transaction is worth."""

UNITS = (*COUNTED, *MONEY)

ELIGIBLE, ACTIVE_US, WHOLE_US, PERIODS = "eligible", "active_us", "whole_us", "periods"
"""What a charge that is due per period is told: the sum of its charges (10^-12), how long of the period, its ordinal."""

Units = Mapping[str, int]


class OptionsError(BillingError):
    """Options of a charge that cannot be meant; each with its key, all of them at once."""

    def __init__(self, findings: Sequence[Finding]):
        super().__init__("\n".join(f"{dotted(item.key)}: {item.text}" for item in findings))
        self.findings = tuple(findings)


class Charge(ABC):
    """One way to price usage. `__init__(self, currency: str, *, ...)`: the options are what the plan's TOML says.

    Errors of `__init__`: OptionsError.
    """

    due: ClassVar[Literal["usage", "period"]] = "usage"
    """"usage": rated when a request is settled. "period": a line of its own when the period ends (prepaid: begins)."""

    per_request: ClassVar[bool] = False
    """True where each request is priced alone: `before` is not looked at."""

    @property
    @abstractmethod
    def units(self) -> tuple[str, ...]:
        """Units that it reads; the first is the one that a bill shows."""

    @abstractmethod
    def amount(self, before: Units, usage: Units) -> Fraction:
        """What `usage` costs after `before` was used in the same period, in units of the currency; exact.

        amount({}, a) + amount(a, b) = amount({}, a + b) unless `per_request`. Units that are not named are 0. Only `volume` may give
        less than 0.
        """

    @abstractmethod
    def most(self, before: Units, usage: Units, *, later: bool = True) -> Fraction:
        """At least what `usage`, or any part of it, can cost after `before`: the sum to reserve.

        later: or after any more than `before`, because others may use something first.
        """

    def opening(self) -> Fraction:
        """What a period costs before anything is used (the first tier's flat fee, where the plan says so)."""
        return Fraction(0)

    def whole(self) -> Callable[[Units], int] | None:
        """Quick: `amount` in 10^-12 units as a function of usage alone. None where it depends on `before` or is not whole."""
        return None

    @property
    def cost_currency(self) -> str:
        """Currency in which `provider_cost` must come; "" for the plan's."""
        return ""

    @property
    def falls(self) -> bool:
        """Whether one more unit can lower the sum."""
        return False

    @property
    def of(self) -> tuple[str, ...]:
        """Names of the charges that it looks at, `*` for all; only where it is due per period."""
        return ()


LineKind = Literal["fee", "usage", "opening", "true_up", "credit", "cap", "prepaid"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill before it is rounded. amount: exact, in 10^-12 units; less than 0 for a credit.

    name: of the fee or charge. quantity: units used, None for fees. start_us, end_us: the time it is for, half-open.
    """

    kind: LineKind
    name: str
    text: str
    amount: Fraction
    quantity: int | None = None
    unit: str = ""
    start_us: int = 0
    end_us: int = 0


class Options:
    """Reads a charge's options: every problem is kept, `done()` raises them together."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def amount(self, value: object, *key: str | int, least: int = 0) -> int:
        """An amount or price in 10^-12 units; 0 where it is none, which `done` says."""
        try:
            return money.parse(value if isinstance(value, str | int | Decimal) else str(value), dotted(key), least=least)
        except BillingError as error:
            self.add(key, str(error).removeprefix(f"{dotted(key)}: "))
            return 0

    def unit(self, name: str, *key: str | int, allowed: Sequence[str] = COUNTED) -> str:
        """A unit of usage."""
        if name not in allowed:
            self.add(key, unknown_word(name, allowed))
        return name

    def add(self, key: Key, text: str) -> None:
        self.findings.append(Finding(key, text))

    def done(self) -> None:
        """Errors: OptionsError where anything was wrong."""
        if self.findings:
            raise OptionsError(self.findings)
