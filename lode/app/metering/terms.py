"""What an organisation's use of a model costs at a moment, kept in memory until the books change. Safe between threads.

The event loop asks for the most that a request can cost, the writer rates with the same tariffs within its transaction.
"""

from __future__ import annotations

import threading

from lode.app.books.contracts import Session
from lode.app.invoices import wallet
from lode.app.prices.subscriptions import tariff_at
from lode.app.prices.tariff import Tariff

_NONE_FOR_US = 1_000_000
"""That there is no subscription is asked again after so long: one may begin without anything being written."""
_MOST = 65536

Name = tuple[str, str]
"""Organisation and model."""


class Terms:
    """Tariffs by organisation and model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes = -1
        self._known: dict[Name, tuple[Tariff | None, int]] = {}  # with when it was asked for
        self._lapses: dict[str, int] = {}

    def seen(self, name: Name, at_us: int) -> tuple[bool, Tariff | None]:
        """Whether the answer is known, and it."""
        found = self._known.get(name)
        if found is None:
            return False, None
        tariff, asked_us = found
        holds = tariff.covers(at_us) if tariff is not None else abs(at_us - asked_us) < _NONE_FOR_US
        return holds, tariff if holds else None

    def at(self, session: Session, name: Name, at_us: int) -> Tariff | None:
        """The tariff that holds; None where the organisation has no subscription: what it uses costs nothing."""
        is_known, tariff = self.seen(name, at_us)
        if is_known:
            return tariff
        changes = session.rows("SELECT changes FROM head")[0][0]
        tariff = tariff_at(session, *name, at_us)
        with self._lock:
            # A reader's session may be older than what the writer has seen meanwhile: what it read is used once, and not kept.
            if changes == self._changes:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[name] = (tariff, at_us)
        return tariff

    def lapse(self, session: Session, organisation: str, at_us: int) -> int:
        """When the next of its prepaid credit expires, or did without being booked. Writer's thread only."""
        known = self._lapses.get(organisation)
        if known is None:
            if len(self._lapses) >= _MOST:
                self._lapses.clear()
            expired, later_us = wallet.lapsing(session, organisation, at_us)
            known = self._lapses[organisation] = at_us if expired else later_us
        return known

    def lapsed(self, organisation: str) -> None:
        """What had expired was booked."""
        self._lapses.pop(organisation, None)

    def refresh(self, changes: int) -> None:
        """Forget everything where `head.changes` has grown."""
        with self._lock:
            if changes > self._changes:
                self._changes = changes
                self._known.clear()
                self._lapses.clear()
