"""What the service of a language model counts besides requests."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from lode.app.monitor import SECONDS, Monitor
from lode.model.language.engine.contracts import Facts


class TokenMonitor(Monitor):
    """Tokens, waiting times, and what the engine says about itself after each step."""

    def __init__(self, *, name: str, version: int | None, hash: str):
        super().__init__(name=name, version=version, hash=hash)
        registry = self.registry
        self._input = Counter("lode_input_tokens", "Tokens of prompts and of texts to embed.", registry=registry)
        self._output = Counter("lode_output_tokens", "Tokens generated.", registry=registry)
        self._cached = Counter("lode_cached_tokens", "Tokens of prompts found in the cache.", registry=registry)
        self._first = Histogram(
            "lode_time_to_first_chunk_seconds", "From first byte to the first tokens.", buckets=SECONDS, registry=registry
        )
        self._steps = Histogram("lode_step_seconds", "Seconds of a step of the engine.", buckets=SECONDS, registry=registry)
        self._finished = Counter("lode_sequences", "Sequences that ended.", ["finish_reason"], registry=registry)
        self._running = Gauge("lode_running_sequences", "Sequences that are generated.", registry=registry)
        self._waiting = Gauge("lode_waiting_sequences", "Sequences that wait for room.", registry=registry)
        self._pages = Gauge("lode_cache_pages", "Pages: held by sequences, kept for prefixes, free.", ["state"], registry=registry)
        self._preemptions = Gauge("lode_preemptions", "Sequences that had to make room and were begun again.", registry=registry)

    def used(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> None:
        """A request ended, well or not."""
        self._input.inc(input_tokens)
        self._output.inc(output_tokens)
        self._cached.inc(cached_tokens)

    def first_chunk(self, seconds: float) -> None:
        """The first tokens of a request are there."""
        self._first.observe(seconds)

    def finished(self, reason: str) -> None:
        """A sequence ended."""
        self._finished.labels(reason).inc()

    def step(self, seconds: float | None, facts: Facts) -> None:
        """The engine made a step (None: only what it says of itself changed)."""
        if seconds is not None:
            self._steps.observe(seconds)
        self._running.set(facts.running)
        self._waiting.set(facts.waiting)
        self._pages.labels("held").set(facts.pages_held)
        self._pages.labels("kept").set(facts.pages_kept)
        self._pages.labels("free").set(facts.pages - facts.pages_held - facts.pages_kept)
        self._preemptions.set(facts.preempted)
