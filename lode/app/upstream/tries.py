"""Which provider is asked when: the first one, and where it fails the next, as long as nothing was sent to the client."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lode.app.contracts import RequestError
from lode.app.upstream.failure import TryError
from lode.app.upstream.lines import Line

_LOG = logging.getLogger("lode.app")
T = TypeVar("T")
_AGAIN_S = 0.1
"""Before the same provider is asked again; doubled each time."""


Noted = Callable[[Line, TryError], Awaitable[None]]
"""Told of each failed try, so that what it may have cost is written down."""


class Tries:
    """The providers of one model, in order. retries: how often more may be asked for one request."""

    def __init__(self, lines: Sequence[Line], retries: int):
        self.lines = tuple(lines)
        self._retries = retries

    @property
    def is_ready(self) -> bool:
        """Whether one of them is not taken for down."""
        return any(not line.breaker.is_open for line in self.lines)

    async def run(self, attempt: Callable[[Line], Awaitable[T]], noted: Noted) -> tuple[Line, T]:
        """What the first provider gives that does not fail.

        Errors: RequestError of the attempt, which is the client's fault; 502 where all that were asked failed; 503 where none may be
        asked now, with the time after which one may.
        """
        counts = dict.fromkeys(self.lines, 0)
        for _ in range(self._retries + 1):
            line = self._next(counts)
            if line is None:
                break
            if counts[line]:
                await self._again(line, counts[line])
            counts[line] += 1
            failure = await self._one(line, attempt, noted)
            if not isinstance(failure, TryError):
                return line, failure
        raise self._nobody(sum(counts.values()))

    def _next(self, counts: dict[Line, int]) -> Line | None:
        """The first of those that were asked least and may be asked now."""
        for line in sorted(self.lines, key=lambda line: counts[line]):
            if line.breaker.may_try():
                return line
        return None

    async def _again(self, line: Line, count: int) -> None:
        is_over = False
        try:
            await asyncio.sleep(_AGAIN_S * 2 ** (count - 1))
            is_over = True
        finally:
            if not is_over:
                line.breaker.abandoned()

    async def _one(self, line: Line, attempt: Callable[[Line], Awaitable[T]], noted: Noted) -> T | TryError:
        breaker, is_known = line.breaker, False
        try:
            result = await attempt(line)
            breaker.succeeded()
            is_known = True
        except RequestError:
            breaker.succeeded()
            is_known = True
            raise
        except TryError as failure:
            is_known = True
            if failure.is_fault:
                breaker.failed()
            if failure.pause_s is not None:
                breaker.paused(failure.pause_s)
            _LOG.warning("provider %s %s", line.name, failure)
            await noted(line, failure)
            return failure
        finally:
            if not is_known:
                breaker.abandoned()
        return result

    def _nobody(self, num_tries: int) -> RequestError:
        wait_s = min(line.breaker.wait_s for line in self.lines)
        after = [(b"retry-after", str(max(1, math.ceil(wait_s))).encode())]
        if num_tries:
            text = "the model's provider failed. You are not charged for it; try again."
            return RequestError(502, "provider_failed", text, headers=after)
        text = "the model's provider is not answering at the moment. You are not charged for it; try again later."
        return RequestError(503, "provider_down", text, headers=after)
