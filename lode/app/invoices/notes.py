"""Credit notes: money given back for lines of an issued invoice. They reverse entries, they delete none; goodwill is something else.

Never more than what is left of a line and of its tax rate; all notes of an invoice together hold exactly its tax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lode.app.books import accounts
from lode.app.books.contracts import Act, Document, Session, Store, Transfer
from lode.app.invoices import customers, numbers, packs, tax, wallet
from lode.app.invoices.documents import CREDIT_NOTE, Line, amount_of, issued, lines_of, moved, seal
from lode.app.invoices.seller import Seller
from lode.app.invoices.standing import Standing, kept, standing
from lode.core import money
from lode.core.errors import BillingError, ConflictError

To = Literal["balance", "cash"]
DESTINATIONS: tuple[To, ...] = ("balance", "cash")


@dataclass(frozen=True, slots=True)
class Item:
    """Part of a line that is credited. line: its number, from 1. amount: in what the line holds, whole coins; less than 0 when voiding
    a discount.
    """

    line: int
    amount: int


def note(
    store: Store, actor: str, seller: Seller, invoice: str, line: int, amount: str, reason: str, *, now_us: Callable[[], int],
    to: To = "balance",
    reference: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Credit a part of one line. amount: without tax where the invoice's prices are, else with. reference: the same again is the same note.

    What was still to be paid is lowered first; then what came from prepaid credit goes back to it; the rest is kept for the customer
    (`balance`) or paid out (`cash`). Errors: BillingError with what is left of the line.
    """
    pico = money.parse(amount, "amount", least=1)
    once, fingerprint = wallet.named("note", reference), f"{invoice}|{line}|{money.plain(pico)}|{to}"

    def work(session: Session) -> dict[str, Any]:
        found = issued(session, invoice)
        if again := wallet.earlier(session, found.organisation, once, fingerprint):
            return again.act.documents[0].body
        return _write(session, actor, seller, found, [Item(line, pico)], reason, "credit", to, now_us(), once, fingerprint)

    return store.transact(work)


def void(
    store: Store, actor: str, seller: Seller, invoice: str, reason: str, *, now_us: Callable[[], int], to: To = "balance"
) -> dict[str, Any]:
    """Credit all that is left of an invoice, discounts too; the same note again, however often it is asked for.

    Errors: BillingError where nothing is left, ConflictError where it was voided to elsewhere.
    """

    def work(session: Session) -> dict[str, Any]:
        found, once = issued(session, invoice), wallet.named("void", invoice)
        if again := wallet.earlier(session, found.organisation, once, invoice):
            return _voided(again.act.documents[0].body, to)
        done = standing(session, found).lines
        left = [Item(place, line.amount - done.get(place, 0)) for place, line in enumerate(lines_of(found.body), 1)]
        items = [item for item in left if item.amount]
        if not items:
            raise BillingError(f"invoice {invoice}: nothing is left to credit. See `lode bill --show {invoice}`.")
        return _write(session, actor, seller, found, items, reason, "void", to, now_us(), once, invoice)

    return store.transact(work)


def _voided(body: dict[str, Any], to: To) -> dict[str, Any]:
    """The note that voided an invoice before. Errors: ConflictError where its money went elsewhere."""
    if body["to"] != to:
        raise ConflictError(
            f'to: found "{to}", but {body["number"]} voided {body["invoice"]} before, to {body["to"]}. See `lode bill --show '
            f"{body['number']}`."
        )
    return body


def _write(
    session: Session, actor: str, seller: Seller, invoice: Document, items: Sequence[Item], reason: str, kind: str, to: To, now_us: int,
    once: str, fingerprint: str,
) -> dict[str, Any]:  # fmt: skip
    if not reason.strip():
        raise BillingError("reason: found none, wanted why; it stands on the credit note. Add --reason TEXT.")
    if to not in DESTINATIONS:
        raise BillingError(f'to: found "{to}", allowed: {", ".join(DESTINATIONS)}. Choose one.')
    before = standing(session, invoice)
    lines = lines_of(invoice.body)
    if kind == "credit":
        _check_remainder(invoice, lines, items[0], before)
        _check_pack(session, invoice, lines[items[0].line - 1], items[0])
    body = _body(invoice, lines, items, before, reason.strip(), kind)
    year = customers.moment(now_us).astimezone(customers.zone(seller.zone)).year
    number, counters = numbers.take(session, CREDIT_NOTE, seller.credit_note_number, year)
    named = {"number": number, "issued": customers.shown_time(now_us), "seller": seller.body(), "to": to}
    grants, taken = packs.taken_back(
        wallet.grants(session, invoice.organisation), [(lines[item.line - 1], item.amount) for item in items]
    )
    body = seal({**body, **named, "from_packs": {id: money.plain(amount) for id, amount in taken.items()}})
    document = Document(CREDIT_NOTE, number, invoice.organisation, body)
    _check_kept(session, invoice, amount_of(body, "total"))
    moves = _transfers(invoice, body, to, taken)
    back = amount_of(body, "to_prepaid")
    grants = wallet.returned(grants, back, now_us) if back else grants if taken else []
    act = Act(
        "credit_note.issue", actor, invoice.organisation, reference=once, fingerprint=fingerprint if once else "", transfers=moves,
        counters=counters,
        documents=(document, *(grant.document() for grant in grants)),
    )  # fmt: skip
    wallet.written(session, act, now_us)
    return body


def _check_remainder(invoice: Document, lines: Sequence[Line], item: Item, before: Standing) -> None:
    """Refuses more than what is left of the line, or of its tax rate after discounts."""
    if not 1 <= item.line <= len(lines):
        raise BillingError(
            f"line: found {item.line}, invoice {invoice.id} has lines 1 to {len(lines)}. See `lode bill --show {invoice.id}`."
        )
    line, currency = lines[item.line - 1], invoice.body["currency"]
    if item.amount != money.coins(item.amount, currency):
        raise BillingError(f"amount: found {money.plain(item.amount)}, wanted whole coins of {currency}. Round it.")
    of_line = line.amount - before.lines.get(item.line, 0)
    same = [place for place, other in enumerate(lines, 1) if other.tax == line.tax]
    of_rate = sum(lines[place - 1].amount - before.lines.get(place, 0) for place in same)
    left = max(min(of_line, of_rate), 0)
    if item.amount > left:
        raise BillingError(
            f"amount: found {money.plain(item.amount)}, allowed: up to {money.plain(left)} {currency}, "
            f"which is left of line {item.line} of "
            f"{invoice.id} and its tax rate. "
            f"More than was charged is goodwill: lode credit goodwill {invoice.organisation} AMOUNT --reason TEXT."
        )


def _check_pack(session: Session, invoice: Document, line: Line, item: Item) -> None:
    """Refuses to take back credit that was used."""
    _, taken = packs.taken_back(wallet.grants(session, invoice.organisation), [(line, item.amount)])
    left = next(iter(taken.values()), 0)
    if line.kind == "prepaid" and left < item.amount:
        raise BillingError(
            f"amount: found {money.plain(item.amount)}, allowed: up to {money.plain(left)}, which was not used of the credit that line "
            f"{item.line} of {invoice.id} sold. Credit the lines of its use instead."
        )


def _check_kept(session: Session, invoice: Document, gross: int) -> None:
    """Refuses to void an invoice in the customer's favour whose money paid another one."""
    if gross < 0 and (left := kept(session, invoice.organisation)) < -gross:
        raise BillingError(
            f"invoice {invoice.id}: found {money.plain(left)} {invoice.body['currency']} left of the {money.plain(-gross)} in its "
            "favour, which paid another one or was paid out, allowed: to void it while all of it is left. Void the other one first."
        )


def _body(
    invoice: Document, lines: Sequence[Line], items: Sequence[Item], before: Standing, reason: str, kind: str
) -> dict[str, Any]:  # fmt: skip
    body, currency = invoice.body, invoice.body["currency"]
    inclusive = body["prices"] == "inclusive"
    rows = _taxes(body, lines, items, before, currency)
    held = sum(item.amount for item in items)
    gross = held if inclusive else held + sum(row.amount for row in rows)
    settled = min(gross, before.open) if gross > 0 else max(gross, min(before.owed, 0))
    used = amount_of(body, "prepaid") - before.returned
    to_prepaid = max(min(gross - settled, used), 0)
    written = [_credited(lines[item.line - 1], item) for item in items]
    net = held - sum(row.amount for row in rows) if inclusive else held
    return {
        "kind": kind, "invoice": invoice.id, "organisation": invoice.organisation, "customer": body["customer"], "currency": currency,
        "period": body["period"], "prices": body["prices"], "reason": reason, "lines": written, "taxes": [row.body() for row in rows],
        "net": money.plain(net), "tax": money.plain(gross - net), "total": money.plain(gross), "settled": money.plain(settled),
        "to_prepaid": money.plain(to_prepaid),
    }  # fmt: skip


def _credited(line: Line, item: Item) -> dict[str, Any]:
    """A line of a note: what it takes back, without the quantity, which was the whole line's."""
    named = replace(line, exact=item.amount, amount=item.amount, quantity="", unit="", unit_price="")
    return {**named.body(), "line": item.line}


def _taxes(body: Mapping[str, Any], lines: Sequence[Line], items: Sequence[Item], before: Standing, currency: str) -> list[tax.Tax]:
    """The tax of each rate that is credited; what the parts of an invoice's tax hold together is that tax."""
    found = []
    for row in (tax.Tax.of(entry) for entry in body["taxes"]):
        part = sum(item.amount for item in items if lines[item.line - 1].tax == row.name)
        if not part:
            continue
        whole = sum(line.amount for line in lines if line.tax == row.name)
        credited = sum(amount for place, amount in before.lines.items() if lines[place - 1].tax == row.name)
        amount = tax.part(row, part, whole, credited, currency)
        found.append(tax.Tax(row.name, row.percent, part - amount if body["prices"] == "inclusive" else part, amount, row.note))
    return found


def _transfers(invoice: Document, body: Mapping[str, Any], to: To, taken: Mapping[str, int]) -> tuple[Transfer, ...]:
    """Reversal: what was earned and taxed is not, what is owed is less."""
    owner, currency = invoice.organisation, body["currency"]
    total, settled, back = (amount_of(body, name) for name in ("total", "settled", "to_prepaid"))
    # Of an invoice in the customer's favour nothing is paid out: what was kept of it is less.
    rest_to = accounts.cash(currency) if to == "cash" and total > 0 else accounts.receivable(owner)
    parts = [
        (accounts.revenue(currency), accounts.receivable(owner), amount_of(body, "net")),
        (accounts.tax(currency), accounts.receivable(owner), amount_of(body, "tax")),
        *packs.moves(owner, currency, taken),
        (accounts.receivable(owner), accounts.prepaid(owner), back),
        (accounts.receivable(owner), rest_to, total - settled - back if rest_to != accounts.receivable(owner) else 0),
    ]
    return moved(parts)
