"""What the endpoints of somebody else's model share: its providers, their connections, and what is counted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
from prometheus_client import Counter, Gauge

from lode.app.answering import Desk
from lode.app.contracts import Asked, Caller, Gate, RequestError, Status, Usage
from lode.app.metered import Tally
from lode.app.monitor import Monitor
from lode.app.options import UpstreamServeOptions
from lode.app.upstream.counting import Counted
from lode.app.upstream.failure import TryError
from lode.app.upstream.lines import Line, make_session
from lode.app.upstream.tries import Tries
from lode.pipeline.upstream import UpstreamModel


class UpstreamMonitor(Monitor):
    """What the service counts besides requests."""

    def __init__(self, *, name: str, version: int | None, hash: str):
        super().__init__(name=name, version=version, hash=hash)
        registry = self.registry
        self._input = Counter("lode_input_tokens", "Tokens of prompts and of texts to embed.", registry=registry)
        self._output = Counter("lode_output_tokens", "Tokens generated.", registry=registry)
        self._cached = Counter("lode_cached_tokens", "Tokens of prompts found in the cache.", registry=registry)
        self._rows = Counter("lode_rows", "Rows predicted.", registry=registry)
        self._estimated = Counter("lode_estimated_requests", "Requests whose provider gave no usage.", registry=registry)
        self._failures = Counter(
            "lode_provider_failures", "Tries that failed for the provider's fault.", ["provider", "reason"], registry=registry
        )
        self._down = Gauge("lode_provider_down", "1 where a provider is left alone.", ["provider"], registry=registry)

    def watch(self, line: Line) -> None:
        """Where it can be read whether a provider is left alone."""
        self._down.labels(line.name).set_function(lambda: int(line.breaker.is_open))

    def failed(self, line: Line, failure: TryError) -> None:
        """A try failed."""
        self._failures.labels(line.name, failure.reason).inc()

    def used(self, tally: Tally) -> None:
        """A request ended, well or not."""
        units = tally.units()
        self._input.inc(units.get("input_tokens", 0))
        self._output.inc(units.get("output_tokens", 0))
        self._cached.inc(units.get("cached_tokens", 0))
        self._rows.inc(units.get("rows", 0))
        if tally.estimated:
            self._estimated.inc()


class UpstreamDesk(Desk):
    """The providers of one model, their connections, and the limits of a request."""

    session: aiohttp.ClientSession

    def __init__(self, model: UpstreamModel, tries: Tries, options: UpstreamServeOptions, gate: Gate, monitor: UpstreamMonitor):
        super().__init__(model, gate, monitor, max_body_bytes=options.max_body_bytes, body_timeout_s=options.timeout_s)
        self.model: UpstreamModel = model
        self.tries, self.options, self.upstream = tries, options, monitor
        self.max_tokens: int = model.options["max_tokens"]
        self.tokens_word: str = model.options["max_tokens_word"]
        self.created = int(time.time())
        self.open_requests = 0
        for line in tries.lines:
            monitor.watch(line)

    @property
    def status(self) -> Status:
        """Not ready while every provider is taken for down."""
        return Status(ready=not self.draining and self.tries.is_ready)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """While the service runs."""
        options = self.model.options
        async with make_session(options["connections"], options["timeout_s"]) as self.session:
            yield

    def cost_most(self, most: dict[str, int]) -> tuple[int, str]:
        """What the dearest provider can take for a request, and the currency, which is the same for all."""
        lists = [line.provider for line in self.tries.lines]
        units = {"requests": 1, **most}
        return max(item.prices.cost(item.model, units) for item in lists), lists[0].prices.currency

    def charge(self, tally: Tally, line: Line, counted: Counted) -> None:
        """Put what the provider takes into the request's tally."""
        units = counted.units()
        tally.units = lambda: units
        tally.cost, tally.cost_currency = line.cost(counted), line.provider.prices.currency
        tally.provider, tally.estimated = line.price_version, counted.estimated

    async def lost(self, caller: Caller, model: str, line: Line, failure: TryError) -> None:
        """Note a try that failed: what it may have cost is ours, nobody's bill."""
        self.upstream.failed(line, failure)
        counted = failure.lost
        if counted is None:
            return
        own = replace(caller, kind="own", limits=(), credit_line=0)
        id = self.request_id(None).decode()
        hold = await self.gate.reserve(own, Asked(f"try_{id}", model, {}))
        usage = Usage(
            hold.asked.request_id, model, self.model.version, 502, counted.units(), 0.0, line.cost(counted),
            line.provider.prices.currency, line.price_version, counted.estimated,
        )  # fmt: skip
        try:
            await self.gate.settle(hold, usage)
        finally:
            self.gate.release(hold)

    def full(self) -> RequestError:
        """The answer to one request too many."""
        text = f"{self.options.max_waiting:,} requests are open, which is the limit. Try again later."
        return RequestError(429, "overloaded", text, headers=[(b"retry-after", b"1")])
