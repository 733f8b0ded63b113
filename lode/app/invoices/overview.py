"""Issued documents: one, or all of them with what is open."""

from __future__ import annotations

from typing import Any

from lode.app.books import journal, pages
from lode.app.books.contracts import Session, Store
from lode.app.books.pages import ALL, Span
from lode.app.invoices import customers
from lode.app.invoices.documents import CREDIT_NOTE, INVOICE, issued
from lode.app.invoices.standing import standing, summary
from lode.core import money


def listed(store: Store, organisation: str = "", span: Span = ALL) -> dict[str, Any]:
    """All invoices, or one customer's, by number. Errors: BillingError where there is no such customer."""
    with store.view() as session:
        if organisation:
            customers.found(session, organisation)
        found = pages.documents(session, INVOICE, organisation or None, span)
        return {"invoices": [summary(session, document) for document in found]}


def show(store: Store, number: str) -> dict[str, Any]:
    """One invoice or credit note, and where it stands. Errors: BillingError where it was never issued, or was changed in the database."""
    with store.view() as session:
        kind = CREDIT_NOTE if journal.document(session, CREDIT_NOTE, number) is not None else INVOICE
        document = issued(session, number, kind)
        found: dict[str, Any] = {"organisation": document.organisation, "issued": [document.body], "warnings": []}
        if kind == INVOICE:
            now = standing(session, document)
            found["standing"] = {
                "status": now.word, "open": money.plain(now.open), "paid": money.plain(now.paid), "credited": money.plain(now.credited),
                "credit_notes": _notes(session, number, document.organisation),
            }  # fmt: skip
        return found


def _notes(session: Session, number: str, organisation: str) -> list[str]:
    return [item.id for item in journal.documents(session, CREDIT_NOTE, organisation) if item.body["invoice"] == number]
