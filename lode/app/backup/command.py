"""What `lode backup` and `lode restore` do, for the command and for Python alike."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lode.app.audit.evidence import evidence
from lode.app.backup import restoring
from lode.app.backup.contents import chosen
from lode.app.backup.following import Follower
from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.app.books.contracts import Store
from lode.app.books.open import FILE, open_books
from lode.app.targets.open import open_target
from lode.core.errors import BackupError
from lode.data.storage.keys import Key, file_key, new_key

_LEAST_S = 0.2


def make_key(path: Path) -> dict[str, Any]:
    """Write a new key. Errors: DataError where the file is there already."""
    return {"key": new_key(path).id, "key_file": str(path)}


def make(
    target: str, key_file: Path | None, runs: Path, books: str | None, *, what: str | None = None, keep: int | None = None
) -> dict[str, Any]:
    """One snapshot: see `making.backup`."""
    words, repository = chosen(what), Repository(open_target(target), _key(key_file), make=True)
    with _books(books, runs) as store:
        return backup(Source(runs, store, words), repository, now_us=_now_us, keep=keep) | {"target": target}


def follow(
    target: str, key_file: Path | None, runs: Path, books: str | None, every_s: float, *, what: str | None = None,
    keep: int | None = None, say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """A snapshot, then the journal every `every_s` seconds until SIGTERM or Ctrl-C; then once more. See `Follower.result`."""
    if every_s < _LEAST_S:
        raise BackupError(f"--follow: found {every_s:g}, wanted {_LEAST_S:g} seconds or more. Write 2.")
    words, repository = chosen(what), Repository(open_target(target), _key(key_file), make=True)
    stop = threading.Event()
    with _books(books, runs) as store:
        follower = Follower(Source(runs, store, words), repository, now_us=_now_us, keep=keep, say=say)
        made = follower.start()
        say(f"snapshot {made['snapshot']}; following from entry {made['books']['sequence']:,} every {every_s:g} s")
        before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not stop.wait(every_s):
                follower.ship()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        follower.ship()
    return follower.result() | {"target": target}


def restore(
    target: str, key_file: Path | None, to: Path | None, *, at: str | None = None, check: bool = False, books: str | None = None,
    runs: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """See `restoring.restore`. books: an empty PostgreSQL database for the journal. runs: of live books to compare with."""
    if to is None and not check:
        raise BackupError("lode restore: found neither --to nor --verify. Write --to DIR to restore, --verify to rehearse it.")
    repository = Repository(open_target(target), _key(key_file, made=True))
    store = open_books(books, Path()) if books else None
    try:
        found = restoring.restore(repository, to, at=at, check=check, books=store)
    finally:
        if store is not None:
            store.close()
    found["live"] = None
    if found["books"] is not None and runs is not None and (runs / FILE).is_file():
        with evidence(None, runs) as session:
            found["live"] = restoring.compared(session, found["books"])
    return found


def snapshots(target: str, key_file: Path | None) -> dict[str, Any]:
    """What can be restored."""
    return {"snapshots": restoring.snapshots(Repository(open_target(target), _key(key_file, made=True)))}


def _key(path: Path | None, *, made: bool = False) -> Key:
    """made: the backup is there already."""
    if path is None:
        raise BackupError(
            "restore: found no key, a backup is always encrypted. Name the key that it was made with: --key-file FILE."
            if made
            else "backup: found no key, a backup is always encrypted. Make one with `lode backup --make-key FILE`, name it with "
            "--key-file."
        )
    return file_key(path, "--key-file")


@contextmanager
def _books(location: str | None, runs: Path) -> Iterator[Store | None]:
    """The books; None where there is no file of them and none was named."""
    if location is None and not (runs / FILE).is_file():
        yield None
        return
    store = open_books(location, runs)
    try:
        yield store
    finally:
        store.close()


def _now_us() -> int:
    return time.time_ns() // 1000
