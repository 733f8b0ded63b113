"""What a model said about each row of a request, kept until its outcome is known: output columns only, bounded in bytes and in days.

It lies beside the journal, not in it, because it must be possible to forget it. An outcome that is reported takes the prediction of its
row with it into the journal; then nothing is lost when this is purged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lode.app.books.contracts import Session

MAX_BYTES = 65536
"""Of one request. Where its predictions are larger, only their number is kept."""
KEEP_DAYS = 180
"""Unless the server says otherwise."""
_LONGEST_WORD = 64
_DAY_US = 86_400_000_000
INSERT = (
    "INSERT INTO predictions (organisation, request_id, model, version, at_us, until_us, body) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (organisation, request_id) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class Said:
    """The predictions of one request. rows: how many. columns: output column -> cells; empty where they were too large."""

    organisation: str
    request_id: str
    model: str
    version: int
    at_us: int
    rows: int
    columns: Mapping[str, Sequence[Any]]

    def row(self, number: int) -> dict[str, Any]:
        """What was said about one row."""
        return {name: cells[number] for name, cells in self.columns.items()}


def kept(columns: Mapping[str, Sequence[Any]], num_rows: int) -> str:
    """The JSON to keep of an answer: decisions, probabilities, numbers and short words; texts, vectors and lists are left out."""
    plain = {name: cells for name, cells in columns.items() if cells and all(_is_plain(cell) for cell in cells)}
    body = orjson.dumps({"rows": num_rows, "columns": plain}, option=orjson.OPT_SERIALIZE_NUMPY)
    if len(body) > MAX_BYTES:
        body = orjson.dumps({"rows": num_rows, "columns": {}})
    return body.decode()


def insert(session: Session, rows: Sequence[tuple[str, str, str, int, int, str]], keep_days: int = KEEP_DAYS) -> None:
    """In the transaction that settles. rows: (organisation, request id, model, version, at_us, what `kept` made)."""
    session.run_many(INSERT, [(*row[:5], row[4] + keep_days * _DAY_US, row[5]) for row in rows])


def find(session: Session, organisation: str, request_id: str) -> Said | None:
    """The predictions of one request, None where there is no such request of this customer, or it is forgotten."""
    found = session.rows(
        "SELECT organisation, request_id, model, version, at_us, body FROM predictions WHERE organisation = ? AND request_id = ?",
        (organisation, request_id),
    )
    return _said(found[0]) if found else None


def of_model(session: Session, model: str, start_us: int, end_us: int) -> list[Said]:
    """All that are kept of a model, in the order in which they were made."""
    rows = session.rows(
        "SELECT organisation, request_id, model, version, at_us, body FROM predictions WHERE model = ? AND at_us >= ? AND at_us < ? "
        "ORDER BY at_us, organisation, request_id",
        (model, start_us, end_us),
    )
    return [_said(row) for row in rows]


def purge(session: Session, now_us: int) -> int:
    """Forget what is too old; how many requests."""
    return session.run("DELETE FROM predictions WHERE until_us <= ?", (now_us,))


def _said(row: tuple[Any, ...]) -> Said:
    record = orjson.loads(row[5])
    return Said(row[0], row[1], row[2], int(row[3]), int(row[4]), record["rows"], record["columns"])


def _is_plain(cell: Any) -> bool:
    if isinstance(cell, str):
        return len(cell) <= _LONGEST_WORD
    return cell is None or isinstance(cell, bool | int | float)
