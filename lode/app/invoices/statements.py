"""What a period's requests came to when an invoice took them: sealed, never changed. Late events make a new one that names the old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Document, Session
from lode.app.invoices import customers
from lode.app.invoices.customers import Customer
from lode.app.invoices.documents import seal
from lode.app.invoices.selection import Part
from lode.core import money

KIND = "statement"


def names(parts: Sequence[Part]) -> list[str]:
    """Counters: how many statements each part has."""
    return [f"statements|{part.subscription}|{part.period}|" for part in parts]


def written(
    session: Session, customer: Customer, parts: Sequence[Part], through: int, invoice: str, now_us: int
) -> tuple[Document, ...]:
    """One statement for each part that an invoice takes entries of."""
    known = journal.counter(session, names(parts)) if parts else {}
    found = []
    for part, name in zip(parts, names(parts), strict=True):
        earlier = known[name]
        body: dict[str, Any] = {
            "subscription": part.subscription, "period": part.period, "currency": customer.currency, "through": through, "invoice": invoice,
            "made": customers.shown_time(now_us), "restates": _id(part, earlier) if earlier else "", "entries": part.whole.entries,
            "rated": money.plain(part.whole.rated), "charges": {charge: money.plain(amount) for charge,
            amount in part.whole.charges.items()},
            "quantities": dict(part.whole.quantities),
        }  # fmt: skip
        found.append(Document(KIND, _id(part, earlier + 1), customer.id, seal(body)))
    return tuple(found)


def _id(part: Part, ordinal: int) -> str:
    return f"{part.subscription}.{part.period}.{ordinal}"
