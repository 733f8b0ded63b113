"""What the service counts, as Prometheus text. A registry of its own: several services in one process do not mix."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class _Requests(Collector):
    """Requests by route and status, and how long they took: plain numbers, turned into metrics when they are asked for."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, route: str, status: int, seconds: float) -> None:
        name = (route, status)
        self._counts[name] = self._counts.get(name, 0) + 1
        if route not in self._sums:
            self._seconds[route], self._sums[route] = [0] * (len(SECONDS) + 1), 0.0
        self._seconds[route][bisect_left(SECONDS, seconds)] += 1
        self._sums[route] += seconds

    def collect(self) -> Iterator[Metric]:
        counter = CounterMetricFamily("lode_requests", "Requests answered.", labels=["route", "status"])
        for (route, status), count in self._counts.items():
            counter.add_metric([route, str(status)], count)
        yield counter
        histogram = HistogramMetricFamily("lode_request_seconds", "From first byte to answer.", labels=["route"])
        bounds = [*(str(float(bound)) for bound in SECONDS), "+Inf"]
        for route, counts in self._seconds.items():
            histogram.add_metric([route], list(zip(bounds, accumulate(counts), strict=True)), self._sums[route])
        yield histogram


class Monitor:
    """Counters that every service has."""

    def __init__(self, *, name: str, version: int | None, hash: str):
        self.registry = CollectorRegistry()
        registry = self.registry
        Gauge("lode_model_info", "The model that is served.", ["name", "version", "hash"], registry=registry).labels(
            name, str(version), hash
        ).set(1)
        self._requests = _Requests()
        registry.register(self._requests)
        self._rejected = Counter("lode_rejected_requests", "Requests answered with an error.", ["reason"], registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.add(route, status, seconds)

    def rejected(self, reason: str) -> None:
        """A request was answered with an error."""
        self._rejected.labels(reason).inc()

    def text(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class RowMonitor(Monitor):
    """Counters of the service of a table model."""

    def __init__(self, *, name: str, version: int | None, hash: str):
        super().__init__(name=name, version=version, hash=hash)
        registry = self.registry
        self._rows = Counter("lode_rows", "Rows predicted.", registry=registry)
        self._batch_rows = Histogram("lode_batch_rows", "Rows of a model call.", buckets=_ROWS, registry=registry)
        self._batch_seconds = Histogram("lode_batch_seconds", "Seconds of a model call.", buckets=SECONDS, registry=registry)
        self._unseen = Counter("lode_unseen_values", "Cells with a value that training never saw.", ["column"], registry=registry)
        self._queue = Gauge("lode_queue_rows", "Rows that wait for the model.", registry=registry)

    def watch_queue(self, waiting_rows: Callable[[], float]) -> None:
        """Where the queue's depth can be read."""
        self._queue.set_function(waiting_rows)

    def batch(self, num_requests: int, num_rows: int, seconds: float) -> None:
        """The model was called."""
        self._batch_rows.observe(num_rows)
        self._batch_seconds.observe(seconds)

    def predicted(self, num_rows: int, unseen: Mapping[str, int]) -> None:
        """Rows were answered."""
        self._rows.inc(num_rows)
        for column, count in unseen.items():
            if count:
                self._unseen.labels(column).inc(count)
