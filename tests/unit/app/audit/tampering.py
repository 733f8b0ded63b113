"""What somebody with the file in hand could do to the books: T8. Each kind changes a copy; two take a checkpoint to be seen."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from lode.app.audit.checkpoint import Checkpoint, make
from lode.app.audit.evidence import evidence, storage
from lode.app.audit.signing import Signer
from lode.app.audit.verify import verify
from lode.app.books.journal import chained
from lode.app.books.rebuild import rebuild
from lode.app.books.sqlite import SqliteStore
from lode.core.errors import AuditError

TABLES = ("journal", "head", "transfers", "balances", "counters", "documents", "usage")
Tamper = Callable[[sqlite3.Connection, random.Random], None]


def flip(value: Any, rng: random.Random) -> Any:
    """The value with one bit of one byte changed; an empty text gets a letter."""
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(40))
    raw = bytearray(value.encode())
    if not raw:
        return "x"
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def one_byte(db: sqlite3.Connection, rng: random.Random) -> None:
    """Any column of any row of any table."""
    table = rng.choice(TABLES)
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    row, where, name = _any_row(db, table, rng)
    index = rng.randrange(len(columns))
    changed = flip(row[index], rng)
    written = "CAST(? AS TEXT)" if isinstance(changed, bytes) else "?"
    db.execute(f"UPDATE OR REPLACE {table} SET {columns[index]} = {written} WHERE {where}", (changed, *name))


def _any_row(db: sqlite3.Connection, table: str, rng: random.Random) -> tuple[tuple[Any, ...], str, list[Any]]:
    """A row, and what finds it again."""
    keys = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
    name = rng.choice(db.execute(f"SELECT {', '.join(keys)} FROM {table} ORDER BY 1").fetchall())
    where = " AND ".join(f"{key} = ?" for key in keys)
    return db.execute(f"SELECT * FROM {table} WHERE {where}", name).fetchone(), where, list(name)


def tail_cut(db: sqlite3.Connection, rng: random.Random) -> None:
    last = _last(db)
    db.execute("DELETE FROM journal WHERE sequence > ?", (last - rng.randint(1, 20),))


def middle_cut(db: sqlite3.Connection, rng: random.Random) -> None:
    first = rng.randint(1, _last(db) - 10)
    db.execute("DELETE FROM journal WHERE sequence BETWEEN ? AND ?", (first, first + rng.randint(0, 5)))


def middle_closed(db: sqlite3.Connection, rng: random.Random) -> None:
    """The middle removed, the rest moved up, the head with it."""
    first, gap = rng.randint(1, _last(db) - 10), rng.randint(1, 5)
    db.execute("DELETE FROM journal WHERE sequence >= ? AND sequence < ?", (first, first + gap))
    for (number,) in db.execute("SELECT sequence FROM journal WHERE sequence >= ? ORDER BY sequence", (first,)).fetchall():
        db.execute("UPDATE journal SET sequence = ? WHERE sequence = ?", (number - gap, number))
    db.execute("UPDATE head SET sequence = sequence - ?", (gap,))


def swapped(db: sqlite3.Connection, rng: random.Random) -> None:
    """Two entries, whole or without their hashes, in each other's place."""
    left, right = rng.sample(range(1, _last(db) + 1), 2)
    columns = ["at_us", "kind", "organisation", "reference", "fingerprint", "record"] + ["hash"] * rng.randint(0, 1)
    names = ", ".join(columns)
    rows = {number: db.execute(f"SELECT {names} FROM journal WHERE sequence = ?", (number,)).fetchone() for number in (left, right)}
    db.execute("DROP INDEX journal_reference")
    for number, other in ((left, right), (right, left)):
        db.execute(f"UPDATE journal SET {', '.join(f'{name} = ?' for name in columns)} WHERE sequence = ?", (*rows[other], number))


def money_moved(db: sqlite3.Connection, rng: random.Random) -> None:
    """A balance changed and another to match, so that the sum is still 0."""
    (left, _), (right, _) = rng.sample(db.execute("SELECT account, amount FROM balances").fetchall(), 2)
    for account, sign in ((left, 1), (right, -1)):
        (amount,) = db.execute("SELECT amount FROM balances WHERE account = ?", (account,)).fetchone()
        db.execute("UPDATE balances SET amount = ? WHERE account = ?", (str(int(amount) + sign * 10**12), account))


def row_added(db: sqlite3.Connection, rng: random.Random) -> None:
    """A row that no entry stands behind."""
    number = _last(db) + rng.randint(-5, 5)
    db.execute(*rng.choice([
        ("INSERT INTO transfers VALUES (?, 7, 'cash/EUR', 'revenue/EUR', '1')", (number,)),
        ("INSERT INTO balances VALUES (?, '0')", (f"customer/{number}/prepaid",)),
        ("INSERT INTO counters VALUES (?, '1')", (f"used|{number}",)),
        ("INSERT INTO counters VALUES (?, 'None')", (f"used|{number}",)),
        # Its reference would count as used, so that request would be free.
        (
            "INSERT INTO journal SELECT ?, at_us, kind, organisation, 'next', fingerprint, record, hash FROM journal WHERE sequence = 1",
            (rng.choice([0, -1, -(2**62), -(2**63)]),),
        ),
        ("INSERT INTO documents VALUES ('key', ?, '', ?, '{}')", (f"key_{number}", number)),
    ]))  # fmt: skip


def row_removed(db: sqlite3.Connection, rng: random.Random) -> None:
    table = rng.choice(TABLES)
    _, where, name = _any_row(db, table, rng)
    db.execute(f"DELETE FROM {table} WHERE {where}", name)


def trigger_added(db: sqlite3.Connection, rng: random.Random) -> None:
    """A trigger that would change what is written next; also under a name like SQLite's own."""
    name = rng.choice([f"t{rng.randrange(99)}", "sqlitex", "sqlite_evil"])
    text = f"CREATE TRIGGER {name} AFTER INSERT ON transfers BEGIN UPDATE balances SET amount = '0'; END"
    db.execute("PRAGMA writable_schema=ON")
    db.execute("INSERT INTO sqlite_master VALUES ('trigger', ?, 'transfers', 0, ?)", (name, text))


def key_doubled(db: sqlite3.Connection, rng: random.Random) -> None:
    """A document whose key stands there twice: which one counts is the reader's choice."""
    id = f"customer-{rng.randrange(20)}"
    db.execute("UPDATE documents SET body = ? || substr(body, 2) WHERE id = ?", ('{"currency":"USD",', id))


def tail_cut_clean(db: sqlite3.Connection, rng: random.Random) -> None:
    """The last entries removed, and every trace of them: only a checkpoint tells."""
    last = _last(db) - rng.randint(1, 20)
    db.execute("DELETE FROM journal WHERE sequence > ?", (last,))
    _again(db, last)


def rewritten(db: sqlite3.Connection, rng: random.Random) -> None:
    """One entry changed and everything behind it counted anew: only a checkpoint tells."""
    number = rng.randint(1, _last(db) - 1)
    for column in ("record", "organisation"):
        db.execute(f"UPDATE journal SET {column} = replace({column}, 'customer-1', 'customer-2') WHERE sequence = ?", (number,))
    db.execute("UPDATE journal SET at_us = at_us + 1 WHERE sequence = ?", (number,))
    _again(db, _last(db))


ALONE: tuple[Tamper, ...] = (
    one_byte,
    tail_cut,
    middle_cut,
    middle_closed,
    swapped,
    money_moved,
    row_added,
    row_removed,
    trigger_added,
    key_doubled,
)
WITH_CHECKPOINT: tuple[Tamper, ...] = (tail_cut_clean, rewritten)


def _last(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT MAX(sequence) FROM journal").fetchone()[0])


def _again(db: sqlite3.Connection, last: int) -> None:
    """Hashes and head as if nothing had been."""
    previous, time = "0" * 64, 0
    for number, at_us, record in db.execute("SELECT sequence, at_us, record FROM journal ORDER BY sequence").fetchall():
        previous, time = chained(previous, number, at_us, record.encode()), at_us
        db.execute("UPDATE journal SET hash = ? WHERE sequence = ?", (previous, number))
    db.execute("UPDATE head SET sequence = ?, hash = ?, at_us = ?", (last, previous, time))


class Lab:
    """A file of books, whose copies are tampered with. path: closed books. folder: for copies."""

    def __init__(self, path: Path, folder: Path, key: Signer):
        self._path, self._folder = path, folder
        with evidence(path, folder) as session:
            self.checkpoint: Checkpoint = make(session, key, 1)
        self._content = self._digest(path)
        self.found: Counter[str] = Counter()
        self.harmless: Counter[str] = Counter()
        self.missed: list[str] = []

    def run(self, count: int, seed: int) -> None:
        """Tamper so often, each kind in turn; every one must be found."""
        kinds = (*ALONE, one_byte, one_byte, *WITH_CHECKPOINT)
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            if number % 4 == 3:
                self._raw(rng, number)
            else:
                self._one(kinds[number % len(kinds)], rng, number)

    def _one(self, kind: Tamper, rng: random.Random, number: int) -> None:
        copy = self._copy()
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.execute("PRAGMA ignore_check_constraints=ON")
            db.execute("BEGIN")
            kind(db, rng)
            db.execute("COMMIT")
        if kind in WITH_CHECKPOINT:
            store = SqliteStore(copy)
            rebuild(store)
            store.close()
            assert not self.problems(copy, []), f"{kind.__name__} {number}: the point is that nothing shows without a checkpoint"
        self._note(kind.__name__, number, bool(self.problems(copy, [("elsewhere", self.checkpoint)])))

    def _raw(self, rng: random.Random, number: int) -> None:
        """One bit of the file itself. Where no value changed (free space in a page), nothing is to be found."""
        copy = self._copy()
        raw = bytearray(copy.read_bytes())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        copy.write_bytes(raw)
        if self.problems(copy, []):
            self.found["raw_byte"] += 1
        elif self._digest(copy) == self._content:
            self.harmless["raw_byte"] += 1
        else:
            self.missed.append(f"raw_byte {number}")

    def _note(self, kind: str, number: int, is_found: bool) -> None:
        if is_found:
            self.found[kind] += 1
        else:
            self.missed.append(f"{kind} {number}")

    def problems(self, path: Path, checkpoints: list[tuple[str, Checkpoint]]) -> list[Any]:
        """What `lode audit verify` finds."""
        try:
            with evidence(path, path.parent) as session:
                return [*verify(session, checkpoints)["problems"], *storage(session)[0]]
        except AuditError as error:
            return [str(error)]

    def _copy(self) -> Path:
        copy = self._folder / "tampered.sqlite"
        for suffix in ("", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self._path, copy)
        return copy

    def _digest(self, path: Path) -> str:
        """Of every value that the books hold, and of the tables themselves."""
        digest = hashlib.sha256()
        with closing(sqlite3.connect(path)) as db:
            for table in ("sqlite_master", *TABLES):
                columns = "type, name, tbl_name, sql" if table == "sqlite_master" else "*"
                digest.update(repr(sorted(db.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)).encode())
        return digest.hexdigest()
