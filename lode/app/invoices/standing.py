"""What happened to an issued invoice since: credited, paid, open. The invoice never changes: this is counted from what refers to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lode.app.books import accounts, journal
from lode.app.books.contracts import Document, Session
from lode.app.invoices.documents import CREDIT_NOTE, INVOICE, amount_of
from lode.core import money

PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one invoice, 10^-12. credited: by notes, tax included; settled: of that, what lowered the sum to be paid. paid: payments.

    lines: credited so far by line number, in what lines hold. taxes: tax credited so far by the rate's name.
    """

    due: int
    credited: int = 0
    settled: int = 0
    paid: int = 0
    returned: int = 0
    lines: Mapping[int, int] = field(default_factory=dict)
    taxes: Mapping[str, int] = field(default_factory=dict)

    @property
    def owed(self) -> int:
        """Still to be paid; less than 0 of an invoice in the customer's favour."""
        return self.due - self.settled - self.paid

    @property
    def open(self) -> int:
        """Still to be paid; nothing of an invoice in the customer's favour."""
        return max(self.owed, 0)

    @property
    def word(self) -> str:
        """One word for lists."""
        if self.owed < 0:
            return "in favour"
        if self.credited and not self.open and not self.paid:
            return "credited"
        if not self.open:
            return "paid"
        return "open" if not self.paid else "partly paid"


def standing(session: Session, invoice: Document) -> Standing:
    """Counted anew from payments and credit notes of the invoice."""
    credited = settled = returned = 0
    lines: dict[int, int] = defaultdict(int)
    taxes: dict[str, int] = defaultdict(int)
    for note in journal.documents(session, CREDIT_NOTE, invoice.organisation):
        if note.body["invoice"] != invoice.id:
            continue
        credited += amount_of(note.body, "total")
        settled += amount_of(note.body, "settled")
        returned += amount_of(note.body, "to_prepaid")
        for line in note.body["lines"]:
            lines[line["line"]] += money.parse(line["amount"], "amount", least=None)
        for row in note.body["taxes"]:
            taxes[row["name"]] += money.parse(row["amount"], "amount", least=None)
    paid = sum(
        money.parse(payment.body["amount"], "amount", least=None)
        for payment in journal.documents(session, PAYMENT, invoice.organisation)
        if payment.body["invoice"] == invoice.id
    )
    return Standing(amount_of(invoice.body, "due"), credited, settled, paid, returned, lines, taxes)


def kept(session: Session, organisation: str) -> int:
    """What a customer has with us beside prepaid credit: of credit notes on what was paid already, of invoices in its favour."""
    is_open = sum(standing(session, invoice).open for invoice in journal.documents(session, INVOICE, organisation))
    return is_open - journal.balance(session, accounts.receivable(organisation))


def summary(session: Session, invoice: Document) -> dict[str, Any]:
    """One row of a list of invoices."""
    body, now = invoice.body, standing(session, invoice)
    return {
        "number": invoice.id, "organisation": invoice.organisation, "kind": body["kind"], "issued": body["issued"],
        "period": body["period"]["label"], "currency": body["currency"], "total": body["total"], "due": body["due"],
        "open": money.plain(now.open), "status": now.word,
    }  # fmt: skip
