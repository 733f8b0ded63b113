"""`lode audit verify`: the journal counted again from its first entry, and everything that follows from it compared with a replay.

One pass in the order of the journal, a batch of entries at a time: a batch is right when its rows equal what its records say,
compared as whole lists; only a batch that is not is looked at row by row. READ FIRST in this folder, then `checkpoint`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from lode.app.audit.checkpoint import Checkpoint, compare
from lode.app.audit.findings import Findings
from lode.app.audit.replay import Replay
from lode.app.books.contracts import Session
from lode.app.books.schema import FIRST_HASH

BATCH = 500
"""Small enough to stay in the processor's cache."""
_JOURNAL = (
    "SELECT sequence, at_us, kind, organisation, reference, fingerprint, record, hash FROM journal WHERE sequence > ? "
    "ORDER BY sequence LIMIT ?"
)
_BEFORE = "SELECT sequence FROM journal WHERE sequence < 1 ORDER BY sequence LIMIT 20"
Row = tuple[Any, ...]


def verify(session: Session, checkpoints: Sequence[tuple[str, Checkpoint]] = (), *, chain_only: bool = False) -> dict[str, Any]:
    """What is wrong with the books as `session` sees them.

    chain_only: leave out what follows from the journal (balances, documents, usage, ...).
    Returns {"entries", "hash", "at_us", "checkpoints", "first_bad" (a sequence or None), "problems" (a list), "num_problems"}.
    """
    findings = Findings()
    replay = None if chain_only else Replay(session, findings)
    try:
        last, at_us, previous = _walk(session, findings, replay)
        if replay is not None:
            replay.finish(last)
        _head(session, findings, last, at_us, previous, replay)
        for problem in compare(session, checkpoints):
            findings.add(**problem)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a page or a text that cannot even be read
        findings.add("storage", None, f"cannot be read: {error}")
        last, at_us, previous = 0, 0, ""
    bad = [item["sequence"] for item in findings.problems if item["sequence"] is not None]
    return {
        "entries": last, "hash": previous, "at_us": at_us, "checkpoints": len(checkpoints), "first_bad": min(bad, default=None),
        "problems": findings.problems, "num_problems": findings.count,
    }  # fmt: skip


def _walk(session: Session, findings: Findings, replay: Replay | None) -> tuple[int, int, str]:
    """Every entry from the first to the last; sequence, time and hash of the last."""
    last, at_us, previous = 0, 0, FIRST_HASH
    # Nobody reads these as history, but an entry there still says that its reference was used.
    for (number,) in session.rows(_BEFORE):
        findings.add("journal", number, "an entry before the first")
    while rows := session.rows(_JOURNAL, (last, BATCH)):
        found = _chain(rows, last, previous)
        previous = _look(rows, last, previous, findings) if found is None else found
        if replay is not None:
            replay.batch(rows, last, rows[-1][0])
        last, at_us = rows[-1][:2]
    return last, at_us, previous


def _chain(rows: Sequence[Row], sequence: int, previous: str) -> str | None:
    """The last hash, or None where anything in the batch is not as it should be. The same rule as `journal.chained`."""
    for number, at_us, _, _, _, _, record, stored in rows:
        sequence += 1
        previous = sha256(f"{previous}|{number}|{at_us}|{record}".encode()).hexdigest()
        if previous != stored or number != sequence:
            return None
    return previous


def _look(rows: Sequence[Row], last: int, previous: str, findings: Findings) -> str:
    """Row by row: which entries are missing or changed. Goes on from the hash that stands there, to find the other ones too."""
    for row in rows:
        number = row[0]
        if number > last + 1:
            findings.add("journal", last + 1, f"missing, the next entry is {number}")
        elif _chain([row], last, previous) is None:
            findings.add("journal", number, "the record, its time or its hash is not what was written")
        last, previous = number, str(row[7])
    return previous


def _head(session: Session, findings: Findings, last: int, at_us: int, previous: str, replay: Replay | None) -> None:
    """The one row that says how long the journal is."""
    rows = session.rows("SELECT one, sequence, at_us, hash, changes FROM head")
    if len(rows) != 1 or rows[0][0] != 1:
        findings.add("head", last, f"found {len(rows)} rows, wanted one with the number 1")
        return
    _, sequence, time, hash, changes = rows[0]
    if isinstance(sequence, int) and sequence > last:
        findings.add("journal", last + 1, f"the journal ends at entry {last}, the books say {sequence}: its tail was removed")
    elif (sequence, time, hash) != (last, at_us, previous):
        ends = f"the journal ends with {last} at {at_us}, hash {previous[:12]}"
        findings.add("head", last, f"says entry {sequence} at {time} (microseconds), hash {str(hash)[:12]}; {ends}")
    elif replay is not None and changes != replay.changes:
        findings.add("head", last, f"says {changes} entries with documents, the journal has {replay.changes}")
