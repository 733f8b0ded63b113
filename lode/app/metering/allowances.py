"""Quotas, budgets and credit: what may still be used, less what requests in progress hold. On the event loop.

One mechanism for all: a ceiling, a counter in the books, holds in memory. `room` is what may be reserved at once: alone, all
that is left; with other processes on the same books, what this one has leased. Nobody is refused because others hold: a
refusal says that what is used already leaves no room. Who lacks only what others hold waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from lode.app.contracts import RequestError
from lode.app.invoices.wallet import NEVER
from lode.app.metering.groups import Groups
from lode.app.metering.orders import GiveBack, Order, Refill, Refilled, Result
from lode.app.metering.sole import held_by_others

_LOOK_S = 0.05
"""Who waits for others looks again so often, also where nothing was heard."""
_SCARCE_S = 5.0
"""After a recall, nobody takes more than is needed for so long."""
_MOST_KNOWN = 65536


class Allowance:
    """One ceiling in one window, as this process sees it.

    used: of it, in the books, as far as known; None before it was read. held: by open requests. lease: set aside for this process.
    until_us: when `used` is to be read again, because credit expires.
    """

    __slots__ = (
        "ceiling", "changed", "held", "lease", "name", "reading", "readings", "scarce_until_s", "until_us", "used", "wanted",
    )  # fmt: skip

    def __init__(self, name: str, ceiling: int):
        self.name = name
        self.ceiling = ceiling
        self.used: int | None = None
        self.held = 0
        self.lease = 0
        self.wanted: dict[int, int] = {}  # what those who wait need, by their number, in the order they came
        self.reading: asyncio.Future[Refilled] | None = None
        self.readings = 0
        self.changed = asyncio.Event()
        self.scarce_until_s = 0.0
        self.until_us = NEVER

    def has_room(self, need: int, alone: bool) -> bool:
        if self.used is None or not need:
            return not need
        most = self.ceiling - self.used
        return self.held + need <= (most if alone else min(most, self.lease))

    def lacks(self, need: int) -> bool:
        """Whether what is used already leaves no room, whatever is held."""
        return self.used is not None and self.used + need > self.ceiling


class Claim(NamedTuple):
    """What a request needs of an allowance. source: what made it."""

    allowance: Allowance
    need: int
    source: Source


class Source(Protocol):
    """Where an allowance comes from: a limit, prepaid credit."""

    @property
    def unit(self) -> str: ...

    def refused(self, allowance: Allowance, need: int) -> RequestError:
        """The error where it is used up."""


class Allowances:
    """All of one process. wait_s: how long a request waits for what others hold. alone: no other process is on the books."""

    def __init__(self, orders: Groups[Order, Result], *, wait_s: float):
        self._orders = orders
        self._wait_s = wait_s
        self._known: dict[str, Allowance] = {}
        self._numbers = 0
        self.alone = True

    def of(self, name: str, ceiling: int, at_us: int) -> Allowance:
        """The allowance of a name, as it is at a moment; its ceiling may have changed."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {word: item for word, item in self._known.items() if item.held or item.wanted or item.lease}
            found = self._known[name] = Allowance(name, ceiling)
        found.ceiling = ceiling
        if at_us >= found.until_us:
            self._lapse(found)
        return found

    def _lapse(self, item: Allowance) -> None:
        """Credit has expired: what is left is to be read, and what was leased of it must be asked for again."""
        item.used, item.until_us = None, NEVER
        slack = self.slack([item.name])
        if slack:
            back = self._orders.add(GiveBack(slack))
            back.add_done_callback(lambda done: self.keep(slack) if done.cancelled() or done.exception() else None)

    async def hold(self, claims: Sequence[Claim]) -> None:
        """Hold all of them, or none. Errors: what `Claim.refused` makes; RequestError 429 where others held it too long, 503."""
        if not self.take(claims):
            self._numbers += 1
            await self._wait(claims, self._numbers)

    def release(self, allowance: Allowance, held: int, used: int = 0, from_lease: bool = True) -> None:
        """A request ended that held something. used: what it used of it, which the books have by now.

        from_lease: whether the lease in the books became smaller by it; what is below 0 (volume) makes none larger.
        """
        allowance.held -= held
        if used:
            if allowance.used is not None:
                allowance.used += used
            if from_lease:
                allowance.lease = max(0, allowance.lease - max(0, used))
        allowance.changed.set()

    def forget(self) -> None:
        """Somebody else wrote into the books: what is used must be read again. Leases hold whatever others write."""
        for item in self._known.values():
            item.used = None if self.alone else item.used

    def share(self) -> dict[str, int]:
        """Another process is there: what is held becomes leases. Name -> amount."""
        self.alone = False
        for item in self._known.values():
            item.lease = item.held
        return {item.name: item.held for item in self._known.values() if item.held}

    def unshare(self) -> None:
        """Nobody else is there any more."""
        self.alone = True
        for item in self._known.values():
            item.lease, item.used = 0, None
            item.changed.set()

    def lost(self) -> None:
        """This process was thought dead: what it had leased is not its own any more."""
        for item in self._known.values():
            item.lease, item.used = 0, None

    def slack(self, names: Sequence[str] | None = None) -> dict[str, int]:
        """Leases that are not held, to be given back; they cannot be used from now on. names: that others lack; None for all idle ones."""
        found: dict[str, int] = {}
        now_s = time.monotonic()
        for item in self._known.values() if names is None else map(self._known.get, names):
            if item is None:
                continue
            if names is not None:
                item.scarce_until_s = now_s + _SCARCE_S
            if item.lease > item.held and (names is not None or not item.wanted):
                found[item.name] = item.lease - item.held
                item.lease = item.held
        return found

    def keep(self, slack: Mapping[str, int]) -> None:
        """Leases that could not be given back after all."""
        for name, amount in slack.items():
            self._known[name].lease += amount

    def take(self, claims: Sequence[Claim]) -> bool:
        """Hold all of them where there is room for them at once."""
        alone = self.alone
        for allowance, need, _ in claims:
            if not allowance.has_room(need, alone):
                return False
        for allowance, need, _ in claims:
            allowance.held += need
        return True

    async def _wait(self, claims: Sequence[Claim], number: int) -> None:
        deadline_s = time.monotonic() + self._wait_s
        while not self.take(claims):
            claim = next(claim for claim in claims if not claim.allowance.has_room(claim.need, self.alone))
            allowance = claim.allowance
            allowance.wanted[number] = claim.need
            try:
                before = allowance.readings
                allowance.changed.clear()
                await self._refill(allowance)
                # One that was under way when this request came may have read too early to refuse it.
                if self.take(claims):
                    return
                if allowance.readings == before:
                    continue
                if allowance.lacks(claim.need):
                    raise claim.source.refused(allowance, claim.need)
                if time.monotonic() > deadline_s:
                    raise held_by_others()
                await _changed(allowance)
            finally:
                allowance.wanted.pop(number, None)

    async def _refill(self, allowance: Allowance) -> None:
        """What is used and leased, as the books have it after this call began. Who comes meanwhile shares one reading."""
        reading = allowance.reading
        if reading is None or reading.done():
            wanted = list(allowance.wanted.values())
            free = allowance.lease - allowance.held
            takes_more = time.monotonic() > allowance.scarce_until_s
            order = Refill(allowance.name, allowance.ceiling, max(0, wanted[0] - free), max(0, sum(wanted) - free), takes_more)
            allowance.readings += 1
            reading = allowance.reading = self._orders.add(order)  # type: ignore[assignment]
        assert reading is not None
        await asyncio.shield(reading)

    def filled(self, order: Refill, result: Refilled) -> None:
        """A reading came back; told in the order of the commits, before those who wait."""
        item = self._known.get(order.name)
        if item is not None:
            item.used = result.used
            item.lease += result.granted
            item.until_us = result.until_us


async def _changed(allowance: Allowance) -> None:
    try:
        async with asyncio.timeout(_LOOK_S):
            await allowance.changed.wait()
    except TimeoutError:
        return
