"""One request of an organisation at a time: where only that tells what it costs. On the event loop.

Free units, packages and tiers whose price rises make a request cheap or dear by what others use before it is settled. Where the
dearest has no room and the present price has, the request goes alone: the organisation's others wait until it has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from lode.app.contracts import Hold, RequestError

_LOOK_S = 0.005


class Sole:
    """All of one process. is_busy: whether an organisation has requests in progress. wait_s: how long one waits for its turn."""

    def __init__(self, is_busy: Callable[[str], bool], *, wait_s: float):
        self._is_busy = is_busy
        self._wait_s = wait_s
        self._going: dict[str, Hold] = {}

    def bars(self, hold: Hold) -> bool:
        """Whether another request of its organisation goes alone."""
        return bool(self._going) and self._going.get(hold.caller.organisation, hold) is not hold

    def deadline_s(self) -> float:
        """Until when a request that comes now waits."""
        return time.monotonic() + self._wait_s

    async def enter(self, hold: Hold, deadline_s: float) -> None:
        """Returns when nothing else of the organisation is in progress; from then on nothing else is let in. Errors: RequestError 429."""
        owner = hold.caller.organisation
        while owner in self._going or self._is_busy(owner):
            await _look(deadline_s)
        self._going[owner] = hold

    async def over(self, organisation: str, deadline_s: float) -> None:
        """Wait for who goes alone. Errors: RequestError 429."""
        while organisation in self._going:
            await _look(deadline_s)

    def leave(self, hold: Hold) -> None:
        """It has ended, or goes with the others."""
        if self._going and self._going.get(hold.caller.organisation) is hold:
            del self._going[hold.caller.organisation]


async def _look(deadline_s: float) -> None:
    if time.monotonic() > deadline_s:
        raise held_by_others()
    await asyncio.sleep(_LOOK_S)


def held_by_others() -> RequestError:
    """What is left is not used up, and may be free again soon."""
    text = "what is left is held by requests in progress. Try again in 1 s."
    return RequestError(429, "held_by_others", text, headers=[(b"retry-after", b"1")])
