"""When a provider is asked and when it is left alone: a circuit breaker with one probe, and the pauses that providers ask for."""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
"""In a row, after which a provider is left alone."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_ASKED_PAUSE_S = 300.0
"""Longest pause that a provider's Retry-After may ask for."""


class Breaker:
    """Closed: everything passes. Open: nothing, until a pause is over; then one probe, which closes it or doubles the pause.

    now_s: seconds of a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic):
        self._now_s = now_s
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._until_s = 0.0
        self._probing = False

    @property
    def wait_s(self) -> float:
        """Seconds until it may be tried again; 0 where it may be now."""
        return max(0.0, self._until_s - self._now_s())

    @property
    def is_open(self) -> bool:
        """Whether the provider is taken for down: not asked, or asked by one probe only."""
        return self._failures >= FAILURES or self.wait_s > 0

    def may_try(self) -> bool:
        """Whether a request may go there now. Where it is half open, only the first one may, until it is known how that ended."""
        if self.wait_s > 0:
            return False
        if self._failures >= FAILURES:
            if self._probing:
                return False
            self._probing = True
        return True

    def succeeded(self) -> None:
        """A request was answered as it should be, or refused for the client's own fault."""
        self._failures, self._pause_s, self._probing = 0, FIRST_PAUSE_S, False

    def failed(self) -> None:
        """A request failed for the provider's fault."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._until_s = max(self._until_s, self._now_s() + self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._probing = False

    def paused(self, seconds: float) -> None:
        """The provider asks to be left alone so long (429, Retry-After); that is no failure."""
        self._until_s = max(self._until_s, self._now_s() + min(max(seconds, 0.0), _ASKED_PAUSE_S))
        self._probing = False

    def abandoned(self) -> None:
        """The client went away before it was known how its request ended."""
        self._probing = False
