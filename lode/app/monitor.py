"""What the service counts, as Prometheus text. A registry of its own: several services in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Monitor:
    """Counters that every service has. Children of labelled metrics are looked up once and kept: that is most of their cost."""

    def __init__(self, *, name: str, version: int | None, hash: str):
        self.registry = CollectorRegistry()
        registry = self.registry
        Gauge("lode_model_info", "The model that is served.", ["name", "version", "hash"], registry=registry).labels(
            name, str(version), hash
        ).set(1)
        self._requests = Counter("lode_requests", "Requests answered.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "lode_request_seconds", "From first byte to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._rejected = Counter("lode_rejected_requests", "Requests answered with an error.", ["reason"], registry=registry)
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._second_children: dict[str, Histogram] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        counter = self._request_children.get((route, status))
        if counter is None:
            counter = self._request_children[route, status] = self._requests.labels(route, str(status))
        histogram = self._second_children.get(route)
        if histogram is None:
            histogram = self._second_children[route] = self._seconds.labels(route)
        counter.inc()
        histogram.observe(seconds)

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
