"""The journal as lines, whatever database it lies in: for books on PostgreSQL, and for what is shipped between two snapshots.

A line is [sequence, at_us, record, hash], and of a request whose predictions are kept also [..., until_us, body]. Everything else follows
from it, so a rebuilt store of books is right when the chain ends in the same hash. What is not in the lines: answers that are kept for
clients that ask again, leases of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

from lode.app.books import predictions
from lode.app.books.contracts import Entry, Session, Store
from lode.app.books.journal import chained
from lode.app.books.projection import project
from lode.app.books.records import act_of
from lode.core.errors import BackupError

LINES = 500
"""Entries in one chunk: the journal only grows, so all chunks but the last stay what they are until their predictions are forgotten."""
_READ = """SELECT j.sequence, j.at_us, j.record, j.hash, p.until_us, p.body FROM journal j LEFT JOIN predictions p
    ON p.organisation = j.organisation AND p.request_id = j.reference AND j.reference <> ''
    WHERE j.sequence > ? AND j.sequence <= ? ORDER BY j.sequence"""
_INSERT = "INSERT INTO journal (sequence, at_us, kind, organisation, reference, fingerprint, record, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
Line = tuple[Any, ...]


def lines(session: Session, after: int, to: int) -> Iterator[bytes]:
    """Entries in (after, to] as text, LINES of them at a time."""
    for start in range(after, to, LINES):
        rows = session.rows(_READ, (start, min(start + LINES, to)))
        yield b"".join(orjson.dumps(row[:4] if row[5] is None else row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def parsed(text: bytes) -> list[Line]:
    """What `lines` wrote."""
    return [tuple(orjson.loads(line)) for line in text.splitlines()]


def check(found: Iterable[Line], after: tuple[int, str], where: str) -> tuple[int, str]:
    """Whether lines go on from an entry (sequence, hash), before any is written; sequence and hash of the last. Errors: BackupError."""
    sequence, previous = after
    for number, time, record, hash, *_ in found:
        if number <= sequence:
            continue
        if number != sequence + 1 or chained(previous, number, time, record.encode()) != hash:
            raise BackupError(f"{where}: the chain is broken after entry {sequence}. Take an older snapshot with --at.")
        sequence, previous = number, hash
    return sequence, previous


def rebuild(store: Store, found: Iterable[Line], where: str) -> tuple[int, str]:
    """Write entries behind those that are there, and all that follows from them; sequence and hash of the last.

    Errors: BackupError where the chain does not go on.
    """
    with store.view() as session:
        sequence, at_us, previous, changes = session.rows("SELECT sequence, at_us, hash, changes FROM head")[0]
    waiting = iter(found)
    while part := list(islice(waiting, LINES)):
        entries, rows, said = [], [], []
        for number, time, record, hash, *kept in part:
            if number <= sequence:
                continue
            if number != sequence + 1 or chained(previous, number, time, record.encode()) != hash:
                raise BackupError(f"{where}: the chain is broken after entry {sequence}. Take an older snapshot with --at.")
            act = act_of(record)
            entries.append(Entry(number, time, act, previous, hash))
            rows.append((number, time, act.kind, act.organisation, act.reference, act.fingerprint, record, hash))
            sequence, at_us, previous, changes = number, time, hash, changes + bool(act.documents)
            if kept and act.used is not None:
                used = act.used
                said.append((used.organisation, used.request_id, used.model, used.version, used.at_us, *kept))
        if entries:
            _written(store, rows, entries, said, (sequence, at_us, previous, changes))
    return int(sequence), str(previous)


def _written(store: Store, rows: Sequence[Line], entries: list[Entry], said: Sequence[Line], head: Sequence[object]) -> None:
    def work(session: Session) -> None:
        session.run_many(_INSERT, rows)
        project(session, entries)
        session.run_many(predictions.INSERT, said)
        session.run("UPDATE head SET sequence = ?, at_us = ?, hash = ?, changes = ?", head)

    store.transact(work)
