"""What is kept beside the journal (answers, predictions), against the digests that its entries hold. Missing rows were forgotten."""

from __future__ import annotations

from typing import Any

import orjson

from lode.app.audit.findings import Findings
from lode.app.books.contracts import Session
from lode.app.books.kept import TABLES, digest

_PAGE = 50
"""Rows at a time: an answer may have a megabyte."""


def compare_kept(session: Session, findings: Findings) -> None:
    """Every row that is kept must be what the entry of its request says."""
    for table, columns in TABLES.items():
        sql = (
            f"SELECT k.organisation, k.request_id, j.sequence, j.record, {', '.join(f'k.{name}' for name in columns)} FROM {table} k "
            "LEFT JOIN journal j ON j.organisation = k.organisation AND j.reference = k.request_id AND j.reference <> '' "
            "WHERE (k.organisation, k.request_id) > (?, ?) ORDER BY k.organisation, k.request_id LIMIT ?"
        )
        owner, id = "", ""
        while rows := session.rows(sql, (owner, id, _PAGE)):
            for owner, id, sequence, record, *values in rows:
                if sequence is None:
                    findings.add(table, None, f"{id} of {owner}: follows from no entry")
                elif _said(record, table) != digest(*values):
                    findings.add(table, sequence, f"{id} of {owner}: is not what was kept of this request")


def _said(record: Any, table: str) -> Any:
    """The digest in an entry; None where there is none, or the entry is damaged, which is found elsewhere."""
    try:
        return orjson.loads(record)["facts"][table]
    except (ValueError, TypeError, KeyError):
        return None
