"""A month's report of a model, closed: a document with its hash that is never changed. Labels that come later make a restatement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.economics.margin import Terms
from lode.app.economics.readings import DAY_US, Window
from lode.app.economics.worth import Outlook, worth
from lode.core.errors import BillingError

KIND = "worth_report"


def month(text: str, now_us: int) -> Window:
    """`2026-11` as a window, UTC. Errors: BillingError for what is no month, or one that is not over."""
    try:
        first = date.fromisoformat(f"{text}-01")
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError:
        raise BillingError(f'--close: found "{text}", wanted a month like 2026-11. Write it so.') from None
    epoch = date(1970, 1, 1)
    if (after - epoch).days * DAY_US > now_us:
        raise BillingError(
            f"--close: found {text}, which is not over, wanted a month before today. Leave out --close to look at it."
        )
    return Window((first - epoch).days * DAY_US, (after - epoch).days * DAY_US)


def close(
    store: Store,
    actor: str,
    runs: Path,
    name: str,
    text: str,
    terms: Terms,
    *,
    now_us: Callable[[], int],
    outlook: Outlook | None = None,
) -> dict[str, Any]:
    """Seal the report of a month, or restate it where outcomes came since; else the one that stands. Nothing sealed is ever changed.

    Restatements are named after what they restate: `MODEL/2026-11`, `MODEL/2026-11/2`, `MODEL/2026-11/3`, ...
    """
    span = month(text, now_us())
    report = worth(store, runs, name, span, terms, outlook=outlook)

    def seal(session: Session) -> dict[str, Any]:
        last = latest(session, name, text)
        if last is not None and last.body["report"]["sequence"] >= report["sequence"]:  # another process may have seen more
            return dict(last.body)
        number = 1 if last is None else last.body["number"] + 1
        id = f"{name}/{text}" if number == 1 else f"{name}/{text}/{number}"
        body = _body(id, number, report, last, now_us())
        act = Act(
            "worth.close" if number == 1 else "worth.restate",
            actor,
            reference=f"worth|{id}",
            documents=(Document(KIND, id, "", body),),
        )
        journal.append(session, [act], now_us())
        return body

    return store.transact(seal)


def latest(session: Session, name: str, text: str) -> Document | None:
    """The newest report of a month, None of none."""
    found = None
    number = 1
    while True:
        document = journal.document(session, KIND, f"{name}/{text}" if number == 1 else f"{name}/{text}/{number}")
        if document is None:
            return found
        found, number = document, number + 1


def is_whole(body: Mapping[str, Any]) -> bool:
    """Whether a sealed report is as it was sealed."""
    return bool(body["sha256"] == _hash(body["report"]))


def _body(id: str, number: int, report: Mapping[str, Any], last: Document | None, now_us: int) -> dict[str, Any]:
    closed = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    restates = None
    if last is not None:
        before = last.body["report"]
        restates = {
            "id": last.body["id"], "sha256": last.body["sha256"], "lead": before["lead"],
            "new_outcomes": report["outcomes_known"] - before["outcomes_known"],
        }  # fmt: skip
    return {"id": id, "number": number, "closed": closed, "restates": restates, "sha256": _hash(report), "report": dict(report)}


def _hash(report: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(report, option=orjson.OPT_SORT_KEYS)).hexdigest()
