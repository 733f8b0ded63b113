"""`lode audit show`: the journal for people, newest last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from lode.app.audit.checkpoint import moment
from lode.app.books.contracts import Session
from lode.core.errors import AuditError
from lode.core.money import plain

_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: "" and None mean all. kind: "key" is every "key.*". from_us <= time < to_us, microseconds.

    limit: the newest so many. before: of those whose sequence is smaller, None for all.
    """

    organisation: str = ""
    actor: str = ""
    kind: str = ""
    from_us: int | None = None
    to_us: int | None = None
    limit: int = 100
    before: int | None = None


def entries(session: Session, wanted: Wanted) -> list[dict[str, Any]]:
    """Entries, oldest first: {"sequence", "at", "hash", and what the record holds}. Errors: AuditError for a limit below 1."""
    if wanted.limit < 1:
        raise AuditError(f"audit show: found --limit {wanted.limit}, wanted 1 or more. Leave it out for the newest 100.")
    found: list[dict[str, Any]] = []
    before = wanted.before or int(session.rows("SELECT sequence FROM head")[0][0]) + 1
    while before > 1 and len(found) < wanted.limit:
        page = session.rows(*_query(wanted, before))
        if not page:
            break
        before = page[-1][0]
        for sequence, at_us, record, hash in page:
            entry = orjson.loads(record)
            if wanted.actor in ("", entry["actor"]) and len(found) < wanted.limit:
                found.append({"sequence": sequence, "at": moment(at_us), "hash": hash} | entry)
    return found[::-1]


def _query(wanted: Wanted, before: int) -> tuple[str, list[Any]]:
    """Constant pieces of SQL, the values apart."""
    where, values = ["sequence < ?"], list[Any]([before])
    if wanted.organisation:
        where.append("organisation = ?")
        values.append(wanted.organisation)
    if wanted.kind:
        where.append("(kind = ? OR (kind >= ? AND kind < ?))")  # "key" and "key.create", no pattern to escape
        values += [wanted.kind, wanted.kind + ".", wanted.kind + "/"]
    if wanted.from_us is not None:
        where.append("at_us >= ?")
        values.append(wanted.from_us)
    if wanted.to_us is not None:
        where.append("at_us < ?")
        values.append(wanted.to_us)
    sql = f"SELECT sequence, at_us, record, hash FROM journal WHERE {' AND '.join(where)} ORDER BY sequence DESC LIMIT {_PAGE}"
    return sql, values


def at(text: str, option: str) -> int:
    """Microseconds of a date (its start) or a time that a person wrote (UTC unless it says otherwise).

    Errors: AuditError.
    """
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise AuditError(f'{option}: found "{text}", wanted a date or a time. Write 2026-11-30 or 2026-11-30T09:00:00Z.') from None
    return round(found.timestamp() * 1_000_000)


def line(entry: dict[str, Any]) -> str:
    """One entry in one line."""
    what = [f"{item['kind']} {item['id']}" for item in entry.get("documents", ())]
    what += [f"{plain(int(amount))} {debit} <- {credit}" for debit, credit, amount in entry.get("transfers", ())]
    used = entry.get("used")
    if used is not None:
        what.insert(0, f"{used['model']} version {used['version']}, status {used['status']}")
    if entry.get("reference"):
        what.append(f"reference {entry['reference']}")
    facts = entry.get("facts")
    if facts and used is None:  # of a request they are digests of what is kept of it
        what.append(orjson.dumps(facts).decode())
    whose = entry["organisation"] or "-"
    return f"{entry['sequence']:>8}  {entry['at']}  {entry['kind']:<20} {whose:<16} {entry['actor']:<20} {'; '.join(what)}".rstrip()
