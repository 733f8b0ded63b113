"""One request of an organisation at a time: where only that tells what it costs. On the event loop.

Free units, packages and tiers whose price rises make a request cheap or dear by what others use before it is settled. Where the
dearest has no room and the present price has, the request goes alone: the organisation's others wait until it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from lode.app.contracts import Hold, RequestError

_LOOK_S = 0.005


class Sole:
    """All of one process. is_busy: whether an organisation has requests in progress. wait_s: how long one waits for its turn.

    Whoever waits stands in one line for each organisation: only its first looks whether the others have ended.
    """

    def __init__(self, is_busy: Callable[[str], bool], *, wait_s: float):
        self._is_busy = is_busy
        self._wait_s = wait_s
        self._going: dict[str, tuple[Hold, asyncio.Lock]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def bars(self, hold: Hold) -> bool:
        """Whether another request of its organisation goes alone."""
        going = self._going.get(hold.caller.organisation) if self._going else None
        return going is not None and going[0] is not hold

    def deadline_s(self) -> float:
        """Until when a request that comes now waits."""
        return asyncio.get_running_loop().time() + self._wait_s

    async def enter(self, hold: Hold, deadline_s: float) -> None:
        """Returns when nothing else of the organisation is in progress; from then on nothing else is let in. Errors: RequestError 429."""
        owner, is_in = hold.caller.organisation, False
        async with _until(deadline_s):
            turn = self._turn(owner)
            await turn.acquire()
            try:
                while self._is_busy(owner):
                    await asyncio.sleep(_LOOK_S)
                self._going[owner], is_in = (hold, turn), True
            finally:
                if not is_in:
                    turn.release()

    async def over(self, hold: Hold, deadline_s: float) -> None:
        """Wait for who goes alone, and for who came before. Errors: RequestError 429."""
        async with _until(deadline_s), self._turn(hold.caller.organisation):
            pass

    def leave(self, hold: Hold) -> None:
        """It has ended, or goes with the others."""
        going = self._going.get(hold.caller.organisation) if self._going else None
        if going is not None and going[0] is hold:
            del self._going[hold.caller.organisation]
            going[1].release()

    def _turn(self, organisation: str) -> asyncio.Lock:
        return self._turns.setdefault(organisation, asyncio.Lock())


@asynccontextmanager
async def _until(deadline_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(deadline_s):
            yield
    except TimeoutError:
        raise held_by_others() from None


def held_by_others() -> RequestError:
    """What is left is not used up, and may be free again soon."""
    text = "what is left is held by requests in progress. Try again in 1 s."
    return RequestError(429, "held_by_others", text, headers=[(b"retry-after", b"1")])
