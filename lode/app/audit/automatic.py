"""Checkpoints made by themselves while a server runs: every so many seconds or entries, whichever is first.

    with Automatic(store, signer(runs), open_target(place), now_us):
        ... serve ...

It reads one row of the books at each look, and writes a file of 500 bytes at each checkpoint. A target that is gone stops no
server: it is told once, and tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from lode.app.audit import checkpoint
from lode.app.audit.signing import Signer
from lode.app.books.contracts import Store
from lode.app.targets.contracts import Target
from lode.core.errors import LodeError


class Automatic:
    """A thread that makes checkpoints.

    every_s, every_entries: at the latest after so much. look_s: how often it looks. say: gets a line where none can be made.
    """

    def __init__(
        self, store: Store, key: Signer, target: Target, now_us: Callable[[], int], *, every_s: float = 600.0,
        every_entries: int = 100_000, look_s: float = 5.0, say: Callable[[str], None] = lambda _: None,
    ):  # fmt: skip
        self._store, self._key, self._target, self._now_us = store, key, target, now_us
        self._every_us, self._every_entries, self._look_s, self._say = int(every_s * 1e6), every_entries, look_s, say
        self._sequence, self._made_us = 0, now_us()
        self._silent = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.look(last=True)

    def look(self, *, last: bool = False) -> str | None:
        """Make a checkpoint if one is due (last: if there is anything new); where it lies."""
        try:
            with self._store.view() as session:
                sequence = checkpoint.head(session)[0]
                new, now_us = sequence - self._sequence, self._now_us()
                if new <= 0 or not (last or new >= self._every_entries or now_us - self._made_us >= self._every_us):
                    return None
                made = checkpoint.make(session, self._key, now_us)
            place = checkpoint.put(made, self._target)
        except LodeError as error:
            if not self._silent:
                self._say(f"no checkpoint: {error}")
            self._silent = True
            return None
        self._sequence, self._made_us, self._silent = made.sequence, now_us, False
        return place

    def _run(self) -> None:
        while not self._stop.wait(self._look_s):
            self.look()
