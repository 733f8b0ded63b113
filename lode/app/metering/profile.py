"""What holds for a caller's requests to one model, looked up once and kept until its key, its limits or the window change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lode.app.access.directory import applying
from lode.app.contracts import Caller, Limit, RequestError
from lode.app.metering.allowances import Allowance, Source
from lode.app.metering.limits import Named
from lode.app.metering.rating import CREDIT, MONEY
from lode.app.metering.windows import Windows
from lode.core import money

_MOST = 16384
_CLOCK_US = 60_000_000
"""A clock that goes back by less is being corrected, and asks for nothing anew."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota or budget of a caller, in the window that holds now."""

    unit: str
    limit: Limit
    currency: str
    ends_us: int | None
    now_us: Callable[[], int]

    def refused(self, allowance: Allowance, need: int) -> RequestError:
        limit, left = self.limit, max(0, allowance.ceiling - (allowance.used or 0))
        whose = limit.subject.partition("/")[0]
        wait_s = None if self.ends_us is None else max(1, math.ceil((self.ends_us - self.now_us()) / 1e6))
        when = "" if wait_s is None else f" A new {limit.window} begins in {wait_s} s."
        headers = [] if wait_s is None else [(b"retry-after", str(wait_s).encode())]
        per = "in all" if limit.window == "total" else f"per {limit.window}"
        if limit.unit == MONEY:
            budget = f"{whose}: budget of {money.plain(limit.amount)} {self.currency} {per}"
            text = f"{budget}: {money.plain(left)} is left, this request may cost {money.plain(need)}.{when}"
            return RequestError(402, "budget_exceeded", text, headers=headers)
        text = f"{whose}: quota of {limit.amount} {limit.unit} {per}: {left} left, this request may take {need}.{when}"
        return RequestError(429, "quota_exceeded", text, headers=headers)


@dataclass(frozen=True, slots=True)
class Credit:
    """Prepaid credit of an organisation."""

    currency: str
    unit: str = MONEY

    def refused(self, allowance: Allowance, need: int) -> RequestError:
        left = money.plain(max(0, allowance.ceiling - (allowance.used or 0)))
        text = (
            f"prepaid credit: {left} {self.currency} is left after all that is owed, this request may cost {money.plain(need)}. "
            "Top up, pay what is open, or ask for less."
        )
        return RequestError(402, "credit_exhausted", text)


@dataclass(frozen=True, slots=True)
class Profile:
    """rates: for the buckets. quotas: name of the counter, ceiling, and where it comes from. needs_price: whether one counts money.

    since_us, until_us: while that is so; a clock that was set back is before it.
    """

    caller: Caller
    rates: tuple[Named, ...]
    quotas: tuple[tuple[str, int, Source], ...]
    needs_price: bool
    since_us: int
    until_us: int


class Profiles:
    """All of one process."""

    def __init__(self, now_us: Callable[[], int]):
        self._now_us = now_us
        self._windows = Windows()
        self._known: dict[tuple[str, str], Profile] = {}

    def of(self, caller: Caller, model: str, at_us: int) -> Profile:
        """What holds now."""
        found = self._known.get((caller.name, model))
        # The directory gives the same Caller until something of it changes.
        if found is None or found.caller is not caller or not found.since_us <= at_us < found.until_us:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[caller.name, model] = self._made(caller, model, at_us)
        return found

    def _made(self, caller: Caller, model: str, at_us: int) -> Profile:
        limits = applying(caller.limits, model)
        quotas: list[tuple[str, int, Source]] = []
        until_us = at_us + 3_600_000_000
        for limit in limits:
            if not limit.is_rate:
                name, ends_us = self._windows.of(limit, caller.zone, at_us)
                quotas.append((name, limit.amount, Quota(limit.unit, limit, caller.currency, ends_us, self._now_us)))
                until_us = min(until_us, ends_us or until_us)
        if caller.payment == "prepaid":
            quotas.append((CREDIT + caller.organisation, caller.credit_line, Credit(caller.currency)))
        rates = tuple((limit.name, limit) for limit in limits if limit.is_rate)
        needs_price = any(source.unit == MONEY for _, _, source in quotas)
        return Profile(caller, rates, tuple(quotas), needs_price, at_us - _CLOCK_US, until_us)
