"""The gate of a metered service: keys, rates, quotas, budgets and credit before the model; one durable commit behind it.

READ FIRST in this folder. A request: `Directory` (who, in memory) -> `Answers` (was it answered before?) -> `Rates` -> `Reserving`,
`Allowances` (hold the most that it can take) -> model -> `Writer` (rate, debit, count, in one commit with others) -> answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lode.app.access.credentials import hmac_of, key_in
from lode.app.books.contracts import Store
from lode.app.contracts import OPERATOR, Asked, Caller, Gate, Hold, Kept, RequestError, Usage
from lode.app.metering.allowances import Allowances, Claim
from lode.app.metering.answers import Answers
from lode.app.metering.groups import Groups, unavailable
from lode.app.metering.leases import Leases, this_process
from lode.app.metering.limits import Rates
from lode.app.metering.orders import Order, Probe, Refill, Refilled, Result, Results, Settled, Settlement, Share
from lode.app.metering.policy import billed_units, case_of, was_taken
from lode.app.metering.profile import Profiles
from lode.app.metering.reserving import BooksHold, Reserving
from lode.app.metering.sole import Sole
from lode.app.metering.terms import Terms
from lode.app.metering.watch import Watch
from lode.app.metering.writer import Writer
from lode.app.prices.tariff import Tariff
from lode.core.errors import BooksError, ConflictError

_LOG = logging.getLogger("lode.app")
_BEARER = b"Bearer "
_AT_LEAST = {"compute_us": 1, "answer_bytes": 1}
"""Known when a request ends only: it is let in where anything is left, and what it took counts from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """wait_s: how long a request waits for what others hold of a budget. keep_s, keep_bytes: how long an answer is kept for who asks
    again, and how large it may be. lost_s: a hold that nobody ends is free after so long.
    """

    wait_s: float = 10.0
    keep_s: float = 24 * 3600.0
    keep_bytes: int = 1 << 20
    lost_s: float = 3600.0


class BooksGate(Gate):
    """The gate in front of one model, for as long as it is served. now_us: the clock. process: its name among those on the books."""

    def __init__(
        self,
        store: Store,
        pepper: bytes,
        *,
        model: str,
        options: GateOptions,
        now_us: Callable[[], int],
        process: str | None = None,
    ):
        self.books = store
        self._store, self._pepper, self._now_us, self._options = store, pepper, now_us, options
        self.keeps_bytes = options.keep_bytes
        leases = Leases(process or this_process(), model)
        self._terms = Terms()
        self._writer = Writer(store, self._terms, leases, keep_us=int(options.keep_s * 1e6), now_us=now_us)
        self._orders: Groups[Order, Result] = Groups(self._writer.run, name="lode-books", finish=self._finish)
        self._allowances = Allowances(self._orders, wait_s=options.wait_s)
        self._rates, self._profiles, self._answers = Rates(), Profiles(now_us), Answers(store)
        self._watch = Watch(store, pepper, self._orders, self._allowances, self._rates, leases.process, now_us)
        self._open: dict[BooksHold, None] = {}
        self._settling: dict[Settlement, BooksHold] = {}
        self._sole = Sole(self._is_busy, wait_s=options.wait_s)
        self._reserving = Reserving(self._allowances, self._sole, self._known, self._tariff, self._watch.counters)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._watch.running(self._sweep):
            yield
            await self._orders.drained()
        await self._orders.close()
        await self._answers.close()

    async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
        authorization = headers.get(b"authorization", b"")
        digest = hmac_of(self._pepper, authorization[len(_BEARER) :]) if authorization.startswith(_BEARER) else b""
        if not self._watch.directory.knows(digest):
            # Written in another way, mistyped, or none: read with care, and told what is wrong with it.
            digest = hmac_of(self._pepper, key_in(authorization))
        caller = self._watch.directory.caller(digest, self._now_us())
        if scope not in caller.scopes and not (scope == OPERATOR and caller.kind == "own"):
            raise RequestError(403, "forbidden", f"the key does not have the scope {scope}. Ask for one that has it.")
        return caller

    async def reserve(self, caller: Caller, asked: Asked) -> Hold:
        if self._watch.is_blind:
            raise unavailable("keys and limits are not followed any more", 5)
        if caller.models and asked.model not in caller.models:
            raise RequestError(403, "model_forbidden", f"the key may not use {asked.model}. Ask for one that may.")
        try:
            if self._orders.failed:
                await self._orders.add(Probe())
            if not asked.is_repeatable:
                return await self._held(caller, asked)
            replay = await self._answers.before(caller, asked)
        except BooksError as error:
            raise _away(error) from None
        if replay is not None:
            return BooksHold(caller, asked, self._now_us(), replay)
        hold: Hold | None = None
        try:
            hold = await self._held(caller, asked)
        finally:
            if hold is None:
                self._answers.over(caller, asked)
        return hold

    async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
        assert isinstance(hold, BooksHold)
        case, units = case_of(usage.status), usage.units
        if hold.is_closed or not (case.billed == "all" or was_taken(units) or usage.cost):
            self.release(hold)
            return None
        # `_make` takes half the time of the class's own call, here and wherever a request makes one.
        shares = tuple([Share._make((item.name, source.unit, item.ceiling, need)) for item, need, source in hold.claims])
        order = Settlement(
            hold.caller, hold.asked.request_id, hold.asked.fingerprint, usage, hold.at_us, shares,
            hold.epoch, kept if case.is_kept else None,
        )  # fmt: skip
        # From here on the writer has it: it ends when it is written, or could not be, whoever still waits.
        self._close(hold)
        self._settling[order] = hold
        self._rates.give_back(hold.buckets, billed_units(case, units))
        try:
            result = await self._orders.add(order)
        except BooksError as error:
            raise _away(error) from None
        except RequestError:  # too many wait
            self._ended(order, None)
            raise
        assert isinstance(result, Settled)
        if isinstance(result.failure, ConflictError):
            raise RequestError(409, "idempotency_conflict", str(result.failure)) from None
        return result.again

    def release(self, hold: Hold) -> None:
        assert isinstance(hold, BooksHold)
        if hold.is_closed:
            return
        self._close(hold)
        self._rates.give_back(hold.buckets, {"requests": 1})
        self._free(hold, ())

    async def _held(self, caller: Caller, asked: Asked) -> BooksHold:
        """A request with all that it needs, let in. Errors: RequestError 402, 429, 503."""
        most = asked.most
        units = {**_AT_LEAST, "cached_tokens": most.get("input_tokens", 0), **most, "requests": 1, "provider_cost": asked.cost_most}
        deadline_s = 0.0
        while True:
            hold = BooksHold(caller, asked, self._now_us())
            if asked.cost_currency:
                await self._check_currency(hold)
            profile = self._profiles.of(caller, asked.model, hold.at_us)
            hold.buckets = self._rates.take(profile.rates, units)
            is_held = False
            try:
                if not self._reserving.at_once(hold, profile, units):
                    await self._reserving.claim(hold, profile, units)
                is_held = True
            except BooksError as error:
                raise _away(error) from None
            finally:
                if not is_held:
                    self._rates.give_back(hold.buckets, {"requests": 1})
            hold.epoch = self._watch.epoch
            if not self._sole.bars(hold):
                self._open[hold] = None
                return hold
            self._rates.give_back(hold.buckets, {})  # it has not ended: it is counted when it is let in
            self._give_up(hold.claims)
            deadline_s = deadline_s or self._sole.deadline_s()
            await self._sole.over(hold, deadline_s)

    async def _check_currency(self, hold: BooksHold) -> None:
        """A provider's cost in a currency that the plan does not read would be billed at a rate that nobody wrote."""
        try:
            tariff = await self._tariff(hold)
        except BooksError as error:
            raise _away(error) from None
        if tariff is not None and not tariff.takes(hold.asked.cost_currency):
            plan, currency = tariff.plan.id, hold.asked.cost_currency
            _LOG.error(
                "plan %s prices no provider's cost in %s: write exchange and provider_currency, in a new version", plan, currency
            )
            text = "this model has no price for you yet. Ask the operator of this service."
            raise RequestError(503, "price_missing", text, headers=[(b"retry-after", b"60")])

    def _known(self, hold: BooksHold) -> tuple[bool, Tariff | None]:
        """Whether it is in memory which tariff holds, and it."""
        if hold.caller.kind != "customer":
            return True, None
        return self._terms.seen((hold.caller.organisation, hold.asked.model), hold.at_us)

    async def _tariff(self, hold: BooksHold) -> Tariff | None:
        is_known, tariff = self._known(hold)
        name = (hold.caller.organisation, hold.asked.model)
        return tariff if is_known else await self._watch.tariff(self._terms, name, hold.at_us)

    def _finish(self, orders: Sequence[Order], results: Sequence[Result | None]) -> None:
        """A commit came back. Settlements first, as the writer did them: readings of the same commit have seen them."""
        from_leases = isinstance(results, Results) and results.from_leases
        if isinstance(results, Results) and results.is_foreign:
            self._allowances.forget()
        refills: list[tuple[Refill, Refilled]] = []
        for order, result in zip(orders, results, strict=True):
            if isinstance(order, Settlement):
                self._ended(order, result if isinstance(result, Settled) else None, from_leases)
            elif isinstance(order, Refill) and isinstance(result, Refilled):
                refills.append((order, result))
        for asked, read in refills:
            self._allowances.filled(asked, read)

    def _ended(self, order: Settlement, result: Settled | None, from_leases: bool = True) -> None:
        hold = self._settling.pop(order)
        self._free(hold, () if result is None else result.taken, from_leases)

    def _free(self, hold: BooksHold, taken: Sequence[int], from_leases: bool = True) -> None:
        """taken: of each claim; empty where nothing was."""
        self._give_up(hold.claims, taken, from_leases)
        self._sole.leave(hold)
        if hold.asked.is_repeatable and hold.replay is None:
            self._answers.over(hold.caller, hold.asked)

    def _give_up(self, claims: Sequence[Claim], taken: Sequence[int] = (), from_leases: bool = True) -> None:
        for index, (allowance, need, _) in enumerate(claims):
            self._allowances.release(allowance, need, taken[index] if taken else 0, from_leases)

    def _is_busy(self, organisation: str) -> bool:
        """Whether an organisation has requests in progress."""
        return any(hold.caller.organisation == organisation for holds in (self._open, self._settling.values()) for hold in holds)

    def _close(self, hold: BooksHold) -> None:
        hold.is_closed = True
        self._open.pop(hold, None)

    def _sweep(self) -> None:
        """Free what nobody ended: it should not be, and must not stay."""
        before_s = time.monotonic() - self._options.lost_s
        while self._open and (hold := next(iter(self._open))).since_s < before_s:
            del self._open[hold]
            self._free(hold, ())
            # Should it end after all, it is noted and counted like any other.
            hold.claims = tuple(claim._replace(need=0) for claim in hold.claims)


def _away(error: BooksError) -> RequestError:
    """The text is for the operator's log, not for clients: it names files."""
    failure = unavailable("they are full, locked or away", error.retry_s or 5)
    failure.__cause__ = error
    return failure
