"""What goes on beside the requests: are the keys still those, who else is on the books, does this process live. On the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from lode.app.access.directory import Directory
from lode.app.books import journal
from lode.app.books.contracts import Session, Store
from lode.app.contracts import RequestError
from lode.app.metering.allowances import Allowances
from lode.app.metering.groups import Groups
from lode.app.metering.leases import recalled
from lode.app.metering.limits import Rates
from lode.app.metering.orders import Beat, GiveBack, Leave, Order, Probe, Result, Standing
from lode.app.metering.terms import Name, Terms
from lode.app.prices.tariff import Tariff
from lode.core.errors import BooksError

_LOG = logging.getLogger("lode.app")

_ALONE_S = 0.25
_SHARED_S = 0.1
"""The books are looked at so often: for changed keys and limits, other processes, and what those lack."""
_BEAT_S = 2.0
_CLEAN_S = 60.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look found. others: processes that live. lacking: allowances that they lack."""

    directory: Directory
    others: frozenset[str]
    lacking: tuple[str, ...]


class Watch:
    """Keeps a gate's memory true to the books. directory: who may call, at most a second old. epoch: see `Leases`."""

    def __init__(
        self,
        store: Store,
        pepper: bytes,
        orders: Groups[Order, Result],
        allowances: Allowances,
        rates: Rates,
        process: str,
        now_us: Callable[[], int],
    ):
        self._store, self._orders, self._allowances, self._rates = store, orders, allowances, rates
        self._process, self._now_us = process, now_us
        with store.view() as session:
            self.directory = Directory.read(session)
        self.directory.check_pepper(pepper)
        self.epoch = 0
        self.is_blind = False
        """Whether looking has ended by a fault."""
        self._looks: Groups[object, object] = Groups(lambda orders: [order() for order in orders], name="lode-watch")  # type: ignore[operator]
        self._beaten_s = self._cleaned_s = time.monotonic()

    @asynccontextmanager
    async def running(self, sweep: Callable[[], None]) -> AsyncIterator[None]:
        """Look until the end; then say goodbye. Errors: BooksError where the books cannot be written at the start."""
        await self._beat(Beat())
        task = asyncio.create_task(self._go_on(sweep))
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            with suppress(BooksError, RequestError):  # its time runs out by itself
                await self._orders.add(Leave())
            await self._looks.close()

    async def tariff(self, terms: Terms, name: Name, at_us: int) -> Tariff | None:
        """Read a tariff that is not in memory. Errors: BooksError."""
        return await self._looks.add(lambda: self._read(lambda session: terms.at(session, name, at_us)))  # type: ignore[return-value]

    async def counters(self, names: Sequence[str]) -> Mapping[str, int]:
        """Counters as they are now. Errors: BooksError."""
        return await self._looks.add(lambda: self._read(lambda session: journal.counter(session, names)))  # type: ignore[return-value]

    def _read(self, work: Callable[[Session], object]) -> object:
        with self._store.view() as session:
            return work(session)

    async def _go_on(self, sweep: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(_ALONE_S if self._allowances.alone else _SHARED_S)
            try:
                seen = await self._looks.add(lambda: self._read(self._look))
                assert isinstance(seen, _Seen)
                await self._act(seen)
            except (BooksError, RequestError) as error:
                # Requests are told; here it is only tried again.
                _LOG.warning("the books could not be looked at: %s", error)
            sweep()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A fault of ours: keys that were revoked would stay good, so nothing more is let in."""
        if not task.cancelled():
            self.is_blind = True
            _LOG.critical("the books are not looked at any more: stop this process", exc_info=task.exception())

    def _look(self, session: Session) -> _Seen:
        """In a thread."""
        now_us = self._now_us()
        rows = session.rows("SELECT process FROM processes WHERE process <> ? AND until_us > ?", (self._process, now_us))
        others = frozenset(str(process) for (process,) in rows)
        lacking = recalled(session, self._process, now_us) if others else ()
        return _Seen(self.directory.newer(session), others, lacking)

    async def _act(self, seen: _Seen) -> None:
        allowances, now_s = self._allowances, time.monotonic()
        if seen.directory is not self.directory:
            allowances.forget()  # credit may have been taken away
        self.directory = seen.directory
        self._rates.share = len(seen.others) + 1
        if seen.others and allowances.alone:
            await self._beat(Beat(enter=allowances.share()))
        elif not seen.others and not allowances.alone:
            await self._beat(Beat(leave=True))
        elif now_s - self._beaten_s > _BEAT_S:
            if not allowances.alone:
                await self._give_back(allowances.slack())
            await self._beat(Beat())
        elif seen.lacking:
            await self._give_back(allowances.slack(seen.lacking))
        if now_s - self._cleaned_s > _CLEAN_S:
            self._cleaned_s = now_s
            await self._orders.add(Probe())

    async def _give_back(self, slack: dict[str, int]) -> None:
        if not slack:
            return
        is_back = False
        try:
            await self._orders.add(GiveBack(slack))
            is_back = True
        finally:
            if not is_back:
                self._allowances.keep(slack)

    async def _beat(self, beat: Beat) -> None:
        self._beaten_s = time.monotonic()
        standing = await self._orders.add(beat)
        assert isinstance(standing, Standing)
        if standing.is_alone and not self._allowances.alone:
            self._allowances.unshare()
        elif not standing.is_alone and self._allowances.alone:
            self._allowances.share()
        if standing.epoch != self.epoch:
            _LOG.warning("this process was silent for too long: what it had reserved may have been used by others")
            self.epoch = standing.epoch
            self._allowances.lost()
        self._rates.share = len(standing.others) + 1
