"""`lode backup --follow`: a snapshot, then every few seconds the entries that were added to the journal since.

What may be lost when the machine burns down is what was not shipped yet: its age, the recovery point, is printed with every piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lode.app.audit.checkpoint import head
from lode.app.backup import entries
from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.core.errors import BackupError, BooksError

PIECES = 5000
"""Shipped pieces after which a new snapshot is made: a restore reads them all."""
_PIECE_BYTES = 16 << 20
"""A piece ends when it is larger: it is held in memory."""


class Follower:
    """Ships entries after a snapshot. now_us: the clock. say: gets a line for each piece, and where the target is gone."""

    def __init__(
        self, source: Source, repository: Repository, *, now_us: Callable[[], int], keep: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ):  # fmt: skip
        if source.books is None:
            raise BackupError("--follow: there are no books to follow. Name them with --books, or leave --follow out.")
        self._source, self._repository, self._now_us, self._keep, self._say = source, repository, now_us, keep, say
        self._books = source.books
        self._snapshot, self._sequence, self._pieces = "", 0, 0
        self._foreign = ""
        self._bytes = 0
        self.entries, self.worst_us = 0, 0

    def start(self) -> dict[str, Any]:
        """The snapshot that all pieces go on from."""
        made = backup(self._source, self._repository, now_us=self._now_us, keep=self._keep)
        self._snapshot, self._sequence, self._pieces = made["snapshot"], made["books"]["sequence"], 0
        return made

    def ship(self) -> int:
        """Ship what is new; how many entries. A target that is gone is told, and everything is shipped at the next call."""
        shipped = 0
        try:
            if self._pieces >= PIECES or self._is_overtaken():
                self.start()
            while count := self._piece():
                shipped += count
        except (BackupError, BooksError) as error:
            self._say(f"not shipped, trying again: {error}")
        return shipped

    def result(self) -> dict[str, Any]:
        """{"snapshot", "entries", "stored_bytes", "rpo_s"}: what was shipped, and the oldest age of an entry when it was safe."""
        return {"snapshot": self._snapshot, "entries": self.entries, "stored_bytes": self._bytes, "rpo_s": self.worst_us / 1e6}

    def _is_overtaken(self) -> bool:
        """Whether a restore would not take our snapshot, and so nothing that is shipped after it, now that there is something to ship.

        Another command made a newer snapshot of these books, or removed ours.
        """
        with self._books.view() as session:
            if head(session)[0] <= self._sequence:
                return False
            ids = self._repository.snapshots()
            if self._snapshot not in ids:
                return True
            if ids[-1] in (self._snapshot, self._foreign):
                return False
            books = self._repository.snapshot(ids[-1])["books"] or {"sequence": 0, "hash": ""}
            if session.rows("SELECT 1 FROM journal WHERE sequence = ? AND hash = ?", (books["sequence"], books["hash"])):
                return True
        self._foreign = ids[-1]
        return False

    def _piece(self) -> int:
        """The next entries as one object."""
        with self._books.view() as session:
            end = head(session)[0]
            if end <= self._sequence:
                return 0
            oldest_us = int(session.rows("SELECT at_us FROM journal WHERE sequence = ?", (self._sequence + 1,))[0][0])
            text, last = b"", self._sequence
            for part in entries.lines(session, self._sequence, end):
                text, last = text + part, min(last + entries.LINES, end)
                if len(text) > _PIECE_BYTES:
                    break
        count = last - self._sequence
        name = f"journal/{self._snapshot}.{self._sequence + 1:012d}-{last:012d}"
        self._bytes += self._repository.put_object(name, text)
        age_us = max(self._now_us() - oldest_us, 0)
        self.worst_us = max(self.worst_us, age_us)
        self._sequence, self._pieces, self.entries = last, self._pieces + 1, self.entries + count
        self._say(f"entry {last:,} is at the target: {count:,} new, recovery point {age_us / 1e6:.1f} s")
        return count
