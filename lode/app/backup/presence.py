"""Who else is at work at a target. Machines cannot lock one another out of an object store, but each can leave a mark and then look.

A backup marks itself, and does not begin while somebody removes; who removes marks itself, and leaves it for the next time while another
backup runs. Each marks first and looks then: of two that begin at once at least one sees the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lode.app.backup.repository import Repository, new_id
from lode.core.errors import BackupError

_FOLDER = "running"
FRESH = timedelta(days=1)
"""What is older was left by a machine that was switched off."""


@dataclass(frozen=True, slots=True)
class Presence:
    """One runs folder at a target. who: tells it from others, and nobody without the key which it is."""

    repository: Repository
    who: str

    @classmethod
    def of(cls, repository: Repository, own: str) -> Presence:
        """Of a runs folder with an id of its own, whose lock is held: marks of it that lie there were left by a kill, and go."""
        found = cls(repository, repository.sealing.name(own.encode()).hex())
        for name in repository.target.names(_FOLDER):
            if f".{found.who}." in name:
                repository.target.remove(f"{_FOLDER}/{name}")
        return found

    @contextmanager
    def marked(self, word: str, now_us: int) -> Iterator[None]:
        """The mark is there meanwhile. word: "backup" or "prune"."""
        name = f"{_FOLDER}/{new_id(now_us)}.{self.who}.{word}"
        self.repository.target.write(name, b"")
        try:
            yield
        finally:
            with suppress(BackupError):  # a target that is gone: the next run removes it
                self.repository.target.remove(name)

    def others(self, words: tuple[str, ...], now_us: int) -> list[str]:
        """Fresh marks of others with one of these words."""
        before = stamp_before(now_us)
        names = self.repository.target.names(_FOLDER)
        return [name for name in names if name.rpartition(".")[2] in words and f".{self.who}." not in name and name > before]


def stamp_before(now_us: int) -> str:
    """Names that begin with a time (`new_id`) and sort before this are older than FRESH."""
    return f"{datetime.fromtimestamp(now_us / 1e6, UTC) - FRESH:%Y%m%dT%H%M%S}"
