"""An invoice that was voided (a wrong address) written anew: what the void took back, today's customer, seller and tax table, a new
number. What other notes and corrected prices gave back of it stays given back.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Any

from lode.app.books import accounts
from lode.app.books.contracts import Act, Document, Session, Store, Transfer
from lode.app.invoices import customers, making, numbers, packs, returned, tax, wallet
from lode.app.invoices.documents import INVOICE, REFERENCE, Line, issued, lines_of, moved, seal
from lode.app.invoices.seller import Seller
from lode.core import money
from lode.core.errors import BillingError


def replace(store: Store, actor: str, seller: Seller, number: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """The invoice that takes the place of one that was voided; the same one again, however often it is asked for.

    Errors: BillingError where anything of the old one still stands.
    """

    def work(session: Session) -> dict[str, Any]:
        old = issued(session, number)
        reference = f"{REFERENCE}replace|{number}"
        again = wallet.earlier(session, old.organisation, reference, number)
        if again is not None:
            return again.act.documents[0].body
        void = wallet.earlier(session, old.organisation, wallet.named("void", number), number)
        if void is None:
            raise BillingError(f"invoice {number}: it still stands. Void it first: lode credit void {number} --reason TEXT.")
        note = void.act.documents[0].body
        lines = returned.written_anew(session, old.organisation, _lines(old.body, note))
        now, customer = now_us(), customers.found(session, old.organisation)
        today = datetime.date.fromisoformat(making.day_of(now, seller.zone))
        done = tax.taxed(lines, seller, customer.body(), customer.currency, *_supplied(old.body["period"]))
        new_number, counters = numbers.take(session, INVOICE, seller.invoice_number, today.year)
        body = seal(
            {
                **old.body, "kind": "replacement", "number": new_number, "reference": new_number, "replaces": number, "closes": "",
                "issued": customers.shown_time(now), "seller": seller.body(), "customer": customer.body(), "selection": [], "prepaid": "0",
                "prices": "inclusive" if done.inclusive else "exclusive", "lines": [line.body() for line in done.lines],
                "taxes": [row.body() for row in done.taxes], "net": money.plain(done.gross - done.tax), "tax": money.plain(done.tax),
                "total": money.plain(done.gross), "due": money.plain(done.gross),
                "due_on": (today + datetime.timedelta(days=seller.due_days)).isoformat(),
            }
        )  # fmt: skip
        owner, currency = customer.id, customer.currency
        taken = {id: money.parse(amount, "from_packs") for id, amount in note.get("from_packs", {}).items()}
        moves = _mirrored(owner, currency, done, taken)
        grants = packs.changed(wallet.grants(session, owner), taken, 1) if taken else []
        documents = (Document(INVOICE, new_number, owner, body), *(grant.document() for grant in grants))
        act = Act("invoice.replace", actor, owner, reference, number, transfers=moves, documents=documents, counters=counters)
        wallet.written(session, act, now)
        return body

    return store.transact(work)


def _mirrored(owner: str, currency: str, done: tax.Taxed, taken: dict[str, int]) -> tuple[Transfer, ...]:
    """The other way round of the notes that credited the old invoice."""
    receivable = accounts.receivable(owner)
    again_sold = [(debit, credit, -amount) for debit, credit, amount in packs.moves(owner, currency, taken)]
    return moved(
        [
            (receivable, accounts.revenue(currency), done.gross - done.tax),
            (receivable, accounts.tax(currency), done.tax),
            *again_sold,
        ]
    )


def _lines(invoice: Mapping[str, Any], note: Mapping[str, Any]) -> list[Line]:
    """The lines of an invoice, as far as a note took them back."""
    lines, made = lines_of(invoice), list[Line]()
    for part in note["lines"]:
        line, amount = lines[part["line"] - 1], money.parse(part["amount"], "amount", least=None)
        some = dataclasses.replace(line, exact=amount, amount=amount, quantity="", unit="", unit_price="")
        made.append(line if amount == line.amount else some)
    return made


def _supplied(period: dict[str, Any]) -> tuple[datetime.date, str]:
    """The last day of the period in the contract's zone, and the zone."""
    last = customers.moment(customers.micros(period["end"]) - 1)
    return last.astimezone(customers.zone(period["zone"])).date(), period["zone"]
