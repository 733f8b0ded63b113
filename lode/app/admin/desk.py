"""What the operations share while the service runs: who may act, by books at most a second old, and how much goes on at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from lode.app.access.directory import Directory
from lode.app.books.contracts import Store
from lode.app.contracts import RequestError

T = TypeVar("T")

_OLD_S = 1.0


class Work:
    """Calls of the books, in threads. at_once: threads. most: calls that are under way or wait, half of them of one caller at most; beyond,
    requests are told to come back: nobody shuts the others out.
    """

    def __init__(self, at_once: int, most: int):
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="lode-admin")
        self._most = most
        self._count = 0
        self._of = Counter[str]()

    async def run(self, work: Callable[[], T], who: str = "") -> T:
        """who: the caller, "" for nobody in particular. Errors: RequestError 429 where too many wait; what `work` raises."""
        with self.slot(who):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextmanager
    def slot(self, who: str = "") -> Iterator[None]:
        """One of the calls that are under way. Errors: RequestError 429."""
        if self._count >= self._most or (who and self._of[who] >= max(1, self._most // 2)):
            raise RequestError(
                429, "queue_full", "too many requests are under way. Try again in 1 s.", headers=[(b"retry-after", b"1")]
            )
        self._count += 1
        self._of[who] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]

    def close(self) -> None:
        """End the threads, after what is under way."""
        self._threads.shutdown(wait=True)


class Latest:
    """The directory, looked after once a second where anybody asks, and after every change of our own. Errors: BooksError."""

    def __init__(self, store: Store, pepper: bytes):
        self._store = store
        with store.view() as session:
            self.directory = Directory.read(session)
        self.directory.check_pepper(pepper)
        self._looked_s = time.monotonic()

    @property
    def is_old(self) -> bool:
        """Whether somebody else may have changed something since."""
        return time.monotonic() - self._looked_s >= _OLD_S

    def look(self) -> None:
        """In a thread; several may look at a time, and the newest directory stays."""
        now_s = time.monotonic()
        with self._store.view() as session:
            found = self.directory.newer(session)
        if found.changes > self.directory.changes:
            self.directory = found
        self._looked_s = max(self._looked_s, now_s)
