"""What a request holds before the model runs: the most that it can cost, as close as what was used before lets it be. On the event loop.

At first a bound that was counted before. Where that has no room, the books are read: the plan may be another one, the customer in a
cheaper tier, or so far that the request is priced exactly and goes alone (`Sole`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from lode.app.contracts import Asked, Caller, Hold, Kept, RequestError
from lode.app.metering.allowances import Allowances, Claim
from lode.app.metering.limits import Bucket
from lode.app.metering.profile import Profile
from lode.app.metering.rating import MONEY
from lode.app.metering.sole import Sole
from lode.app.prices.tariff import Tariff


class BooksHold(Hold):
    """What one request holds of rates and allowances. at_us: when it was let in; its price, credit and windows are those of then.

    epoch: see `Writer`.
    """

    __slots__ = ("at_us", "buckets", "claims", "epoch", "is_closed", "since_s")

    def __init__(self, caller: Caller, asked: Asked, at_us: int, replay: Kept | None = None):
        self.caller, self.asked, self.at_us, self.replay = caller, asked, at_us, replay
        self.buckets: Sequence[tuple[Bucket, int]] = ()
        self.claims: tuple[Claim, ...] = ()
        self.epoch = 0
        self.since_s = time.monotonic()
        self.is_closed = False


class Reserving:
    """known: whether it is in memory what holds for a hold, and it. tariff: it, counters: as the books have them; both BooksError."""

    def __init__(
        self,
        allowances: Allowances,
        sole: Sole,
        known: Callable[[BooksHold], tuple[bool, Tariff | None]],
        tariff: Callable[[BooksHold], Awaitable[Tariff | None]],
        counters: Callable[[Sequence[str]], Awaitable[Mapping[str, int]]],
    ):
        self._allowances, self._sole = allowances, sole
        self._known, self._tariff, self._counters = known, tariff, counters

    def at_once(self, hold: BooksHold, profile: Profile, units: Mapping[str, int]) -> bool:
        """Hold all that a request needs where nothing has to be read or waited for; else nothing, and `claim` does."""
        is_known, tariff = self._known(hold) if profile.needs_price else (True, None)
        if not is_known:
            return False
        most = 0 if tariff is None else tariff.most(units, tariff.period(hold.at_us).label)
        claims = self._claims(hold, profile, units, most)
        if self._allowances.take(claims):
            hold.claims = claims
            return True
        return False

    async def claim(self, hold: BooksHold, profile: Profile, units: Mapping[str, int]) -> None:
        """Hold all that a request needs, or nothing. units: at most. Errors: RequestError 402, 429, 503; BooksError."""
        tariff = await self._tariff(hold) if profile.needs_price else None
        most = 0 if tariff is None else tariff.most(units, tariff.period(hold.at_us).label)
        while True:
            try:
                return await self._take(hold, profile, units, most)
            except RequestError as refusal:
                if refusal.status != 402:
                    raise
                # Whoever read that nothing is left has noticed a change of plan, too.
                tariff = await self._tariff(hold)
                closer = await self._closest(hold, units, tariff)
                if closer >= most:
                    if tariff is None or not await self._fits_alone(hold, profile, units, tariff):
                        raise
                    return await self._alone(hold, profile, units, tariff)
                most = closer

    async def _closest(self, hold: BooksHold, units: Mapping[str, int], tariff: Tariff | None) -> int:
        """The bound after what was used by now."""
        if tariff is None:
            return 0
        label = tariff.period(hold.at_us).label
        return tariff.most(units, label, await self._counters(tariff.names(label)) if tariff.depends else None)

    async def _fits_alone(self, hold: BooksHold, profile: Profile, units: Mapping[str, int], tariff: Tariff) -> bool:
        """Whether there is room for the present price; other processes would change it unseen."""
        if not tariff.depends or not self._allowances.alone:
            return False
        exact = await self._exact(hold, units, tariff)
        return not any(claim.allowance.lacks(claim.need) for claim in self._claims(hold, profile, units, exact))

    async def _alone(self, hold: BooksHold, profile: Profile, units: Mapping[str, int], tariff: Tariff) -> None:
        """Hold the present price, once nothing else of the organisation is in progress."""
        await self._sole.enter(hold, self._sole.deadline_s())
        is_held = False
        try:
            await self._take(hold, profile, units, await self._exact(hold, units, tariff))
            is_held = True
        finally:
            if not is_held:
                self._sole.leave(hold)

    async def _exact(self, hold: BooksHold, units: Mapping[str, int], tariff: Tariff) -> int:
        label = tariff.period(hold.at_us).label
        return tariff.bound(units, label, await self._counters(tariff.names(label)), later=False)

    async def _take(self, hold: BooksHold, profile: Profile, units: Mapping[str, int], most: int) -> None:
        claims = self._claims(hold, profile, units, most)
        await self._allowances.hold(claims)
        hold.claims = claims

    def _claims(self, hold: BooksHold, profile: Profile, units: Mapping[str, int], most: int) -> tuple[Claim, ...]:
        """Of what needs nothing, too: should it cost something after all (another plan meanwhile), it is counted and bounded."""
        of = self._allowances.of
        return tuple([
            Claim._make((of(name, ceiling, hold.at_us), most if source.unit == MONEY else units.get(source.unit, 0), source))
            for name, ceiling, source in profile.quotas
        ])  # fmt: skip
