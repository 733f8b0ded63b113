"""Faults below the storage interface (T6): SQLite connections that fail as disks do, and clients that ask again until they are told."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Act, Entry
from lode.app.books.sqlite import SqliteStore
from lode.core.errors import BooksError
from lode.testing.books import HOUR_US, assert_whole, settled

_ANY = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_READ", "SQLITE_NOMEM", "SQLITE_READONLY", "SQLITE_IOERR_SHMMAP")
_BEGIN = ("SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_PROTOCOL")
_COMMIT = ("SQLITE_IOERR_FSYNC", "SQLITE_FULL", "SQLITE_IOERR_DIR_FSYNC")


def _raised(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"injected {name}")
    error.sqlite_errorname = name
    return error


@dataclass
class Faults:
    """What fails, and how often. share: of statements; 0 is a machine that works again."""

    seed: int
    share: float = 0.02
    injected: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def maybe(self, names: tuple[str, ...], factor: float = 1.0) -> None:
        if self.chance.random() < self.share * factor:
            name = self.chance.choice(names)
            self.injected[name] = self.injected.get(name, 0) + 1
            raise _raised(name)

    def connect(self, path: Path) -> sqlite3.Connection:
        self.maybe(("SQLITE_CANTOPEN", "SQLITE_IOERR_ACCESS"), 5)
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=_Connection)
        connection.faults = self
        return connection


class _Connection(sqlite3.Connection):
    """Fails before a statement is run; a commit also after it, when nobody can know."""

    faults: Faults

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("COMMIT"):
            self.faults.maybe(_COMMIT, 5)
        elif sql != "ROLLBACK":
            self.faults.maybe(_BEGIN if sql.startswith("BEGIN") else _ANY)
        result = super().execute(sql, values)
        if sql.startswith("COMMIT"):
            self.faults.maybe(("SQLITE_IOERR_FSYNC",), 5)
        return result

    def executemany(self, sql: str, values: Any, /) -> sqlite3.Cursor:
        self.faults.maybe(_ANY)
        return super().executemany(sql, values)


@dataclass
class Survived:
    """What happened. refused: answers 503. injected: faults, of so many kinds."""

    acknowledged: int = 0
    refused: int = 0
    injected: int = 0
    kinds: int = 0


def survive(path: Path, num_acts: int, seed: int) -> Survived:
    """Clients ask again until they are told, on a disk that fails and a clock that jumps. Errors: AssertionError."""
    faults, told = Faults(seed, share=0.0), Survived()
    chance = random.Random(seed)
    store = SqliteStore(path, connect=faults.connect)
    faults.share = 0.02
    waiting, acknowledged = [settled(number) for number in range(num_acts)], dict[str, Entry]()
    for step in range(20 * num_acts):
        if not waiting:
            break
        batch = chance.sample(waiting, min(len(waiting), chance.randint(1, 8)))
        now_us = 1_760_000_000_000_000 + chance.choice((-HOUR_US, 0, HOUR_US)) + step
        told.refused += not _asked(store, batch, now_us, acknowledged)
        waiting = [act for act in waiting if act.reference not in acknowledged]
    assert not waiting, "clients wait for ever"
    faults.share = 0.0
    assert _asked(store, [settled(num_acts)], 0, acknowledged), "the books did not recover when the faults ended"
    with store.view() as session:
        found = {entry.act.reference: (entry.sequence, entry.hash) for entry, _ in journal.read(session, limit=10**9)}
    assert found == {name: (entry.sequence, entry.hash) for name, entry in acknowledged.items()}, "told of what is not recorded"
    assert_whole(store, num_acts + 1)
    store.close()
    told.acknowledged, told.injected, told.kinds = len(acknowledged), sum(faults.injected.values()), len(faults.injected)
    return told


def _asked(store: SqliteStore, batch: list[Act], now_us: int, acknowledged: dict[str, Entry]) -> bool:
    try:
        answers = store.transact(lambda session: journal.append(session, batch, now_us))
    except BooksError as error:
        assert error.retry_s, f"no Retry-After: {error}"
        return False
    for act, answer in zip(batch, answers, strict=True):
        assert isinstance(answer, Entry) and answer.act == act
        acknowledged[act.reference] = answer
    return True
