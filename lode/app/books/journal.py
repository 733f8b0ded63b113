"""The journal: acts in, chained rows out, and in the same transaction everything that follows from them.

    hash_n = sha256(hash_{n-1} ‖ "|" ‖ n ‖ "|" ‖ at_us ‖ "|" ‖ canonical JSON of row n)

so that a changed, moved or removed row is found by counting again (`lode audit verify`); a removed tail or a wholly new
chain by a checkpoint that was stored elsewhere. What follows from the rows is in `projection.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from lode.app.books.contracts import Act, Document, Entry, Session
from lode.app.books.projection import MANY, marks, project
from lode.app.books.records import act_of, record_of
from lode.core.errors import BillingError, ConflictError

_INSERT = "INSERT INTO journal (sequence, at_us, kind, organisation, reference, fingerprint, record, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def chained(previous: str, sequence: int, at_us: int, record: bytes) -> str:
    """The hash of a row. previous: hex of the row before."""
    return hashlib.sha256(b"%s|%d|%d|%s" % (previous.encode(), sequence, at_us, record)).hexdigest()


def append(session: Session, acts: Sequence[Act], now_us: int) -> list[Entry | BillingError]:
    """Write acts, in order, in the session's transaction; what became of each.

    An act whose (organisation, reference) was written before gives that Entry again if its fingerprint is the same, else a
    ConflictError; nothing is written for it. now_us: the clock; the journal's own time never goes back, whatever that does.
    """
    known = _known(session, acts)
    sequence, last_us, previous, changes = session.rows("SELECT sequence, at_us, hash, changes FROM head")[0]
    at_us = max(now_us, last_us)
    result: list[Entry | BillingError] = []
    new: list[Entry] = []
    rows = []
    for act in acts:
        if act.reference:
            found = known.get((act.organisation, act.reference))
            if found is not None:
                result.append(_again(found, act))
                continue
        record = record_of(act)
        sequence += 1
        hash = chained(previous, sequence, at_us, record)
        entry = Entry(sequence, at_us, act, previous, hash)
        rows.append((sequence, at_us, act.kind, act.organisation, act.reference, act.fingerprint, record.decode(), hash))
        previous = hash
        changes += bool(act.documents)
        if act.reference:
            known[act.organisation, act.reference] = entry
        new.append(entry)
        result.append(entry)
    if new:
        session.run_many(_INSERT, rows)
        project(session, new)
        session.run("UPDATE head SET sequence = ?, at_us = ?, hash = ?, changes = ?", (sequence, at_us, previous, changes))
    return result


def read(session: Session, after: int = 0, limit: int = 1000) -> list[tuple[Entry, bytes]]:
    """Rows of the journal as they stand, with their records, from sequence `after` + 1 on. `previous` is not stored: it is ""."""
    found = session.rows(
        "SELECT sequence, at_us, record, hash FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
    )
    return [(Entry(number, at_us, act_of(record), "", hash), record.encode()) for number, at_us, record, hash in found]


def _again(found: Entry, act: Act) -> Entry | BillingError:
    if found.act.fingerprint == act.fingerprint:
        return found
    return ConflictError(
        f"{act.reference}: this id was used at entry {found.sequence} for something else. Take a new id for a new request."
    )


def _known(session: Session, acts: Sequence[Act]) -> dict[tuple[str, str], Entry]:
    """Entries of acts that were written before, by (organisation, reference)."""
    wanted = [(act.organisation, act.reference) for act in acts if act.reference]
    known: dict[tuple[str, str], Entry] = {}
    for start in range(0, len(wanted), MANY):
        part = wanted[start : start + MANY]
        # A join, because SQLite reads the whole index for `(organisation, reference) IN (VALUES ...)`.
        rows = session.rows(
            f"WITH wanted (owner, name) AS (VALUES {marks(len(part), '(?, ?)')}) SELECT sequence, at_us, record, hash FROM wanted "
            "CROSS JOIN journal WHERE organisation = owner AND reference = name AND reference <> ''",
            [value for name in part for value in name],
        )
        for sequence, at_us, record, hash in rows:
            act = act_of(record)
            known[act.organisation, act.reference] = Entry(sequence, at_us, act, "", hash)
    return known


def balance(session: Session, account: str) -> int:
    """Debits - credits of an account; 0 where nothing was ever written to it."""
    found = session.rows("SELECT amount FROM balances WHERE account = ?", (account,))
    return int(found[0][0]) if found else 0


def counter(session: Session, names: Sequence[str]) -> dict[str, int]:
    """Counters by name; those that do not exist are 0."""
    found: dict[str, int] = dict.fromkeys(names, 0)
    for start in range(0, len(names), MANY):
        part = list(names[start : start + MANY])
        rows = session.rows(f"SELECT name, amount FROM counters WHERE name IN ({marks(len(part))})", part)
        found.update((name, int(amount)) for name, amount in rows)
    return found


def documents(session: Session, kind: str, organisation: str | None = None) -> list[Document]:
    """All things of one kind, by id."""
    where, values = ("kind = ?", (kind,)) if organisation is None else ("kind = ? AND organisation = ?", (kind, organisation))
    found = session.rows(f"SELECT kind, id, organisation, body FROM documents WHERE {where} ORDER BY id COLLATE BINARY", values)
    return [Document(word, id, owner, orjson.loads(body)) for word, id, owner, body in found]


def document(session: Session, kind: str, id: str) -> Document | None:
    """One thing, None where there is none."""
    found = session.rows("SELECT organisation, body FROM documents WHERE kind = ? AND id = ?", (kind, id))
    return Document(kind, id, found[0][0], orjson.loads(found[0][1])) if found else None
