"""Rows that come a few at a time, written as one Parquet file by a thread of its own while others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Full, Queue

import polars as pl

from lode.data.storage.shelf import from_batches

_MAX_WAITING = 1
"""Frames that wait for the writer; more would only take memory."""
_LOOK_S = 0.5
"""Seconds until a full queue is looked at again: its writer may have died."""


class Spool:
    """Takes frames until it is closed or stopped.

    Args:
        write: writes rows that stream; runs in the thread.
        schema: of every frame.
        arrange: what becomes of a frame before it is written, in the thread.
    """

    def __init__(
        self,
        write: Callable[[pl.LazyFrame], None],
        schema: Mapping[str, pl.DataType],
        arrange: Callable[[pl.DataFrame], pl.DataFrame],
    ) -> None:
        self._arrange = arrange
        self._waiting: Queue[pl.DataFrame | None] = Queue(_MAX_WAITING)
        pool = ThreadPoolExecutor(1)
        self._done: Future[None] = pool.submit(write, from_batches(self._frames(), dict(schema)))
        pool.shutdown(wait=False)

    def put(self, frame: pl.DataFrame) -> None:
        """The next rows. Errors: what writing raised."""
        if not self._offered(frame):
            self._done.result()

    def close(self) -> None:
        """Wait until all is written. Errors: what writing raised."""
        self._offered(None)
        self._done.result()

    def stop(self) -> None:
        """Let go of the thread, whatever became of it; what it wrote is of no use unless it was closed before."""
        self._offered(None)
        wait([self._done])

    def _offered(self, frame: pl.DataFrame | None) -> bool:
        """Hand over rows, None after the last ones; False where the writer has ended and takes no more."""
        while not self._done.done():
            with suppress(Full):
                self._waiting.put(frame, timeout=_LOOK_S)
                return True
        return False

    def _frames(self) -> Iterator[pl.DataFrame]:
        while (frame := self._waiting.get()) is not None:
            yield self._arrange(frame)
