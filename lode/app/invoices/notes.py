"""Credit notes: money given back for lines of an issued invoice. They reverse entries, they delete none; goodwill is something else.

Never more than what is left of a line, of its tax rate, and of what it is for (`returned.py`: a corrected price may have given some
back); all notes of an invoice together hold exactly its tax. Paid out is at most what came from the customer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lode.app.books import accounts
from lode.app.books.contracts import Act, Document, Session, Store, Transfer
from lode.app.invoices import customers, numbers, packs, returned, tax, wallet
from lode.app.invoices.categories import is_whole
from lode.app.invoices.documents import CREDIT_NOTE, Line, amount_of, issued, lines_of, moved, seal
from lode.app.invoices.returned import Charged
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

    What a corrected price, or a part of a fee that was not used, gave back on another invoice is not given back once more: `before` of
    the note says how much, and by which. Errors: BillingError where nothing is left, ConflictError where it was voided to elsewhere.
    """

    def work(session: Session) -> dict[str, Any]:
        found, once = issued(session, invoice), wallet.named("void", invoice)
        if again := wallet.earlier(session, found.organisation, once, invoice):
            return _voided(again.act.documents[0].body, to)
        items, before = _left(session, found)
        if not items:
            more = "".join(f" {row['by']} gave back {row['amount']} of line {row['line']}." for row in before)
            raise BillingError(f"invoice {invoice}: nothing is left to credit.{more} See `lode bill --show {invoice}`.")
        return _write(session, actor, seller, found, items, reason, "void", to, now_us(), once, invoice, before)

    return store.transact(work)


def _left(session: Session, invoice: Document) -> tuple[list[Item], list[dict[str, Any]]]:
    """What can be credited of each line; and what other documents gave back of them."""
    charged, done = returned.read(session, invoice.organisation), standing(session, invoice).lines
    left, before = {}, []
    rows = list(enumerate(lines_of(invoice.body), 1))
    # What gave something back first, then discounts: taken back, more is charged, and can be credited.
    for place, line in sorted(rows, key=lambda row: (row[1].amount * returned.Thing.of(row[1]).sign > 0, row[1].amount)):
        rest = line.amount - done.get(place, 0)
        left[place] = charged.creditable(line, rest)
        others = charged.elsewhere(returned.Thing.of(line), invoice.id) or ["discounts"]
        if left[place]:
            charged.credited(invoice.id, replace(line, amount=left[place]))
        if left[place] != rest:
            before.append({"line": place, "amount": money.plain(rest - left[place]), "by": returned.shown(others)})
    items = [Item(place, left[place]) for place, _ in rows if left[place]]
    return items, sorted(before, key=lambda row: row["line"])


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
    once: str, fingerprint: str, given: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    if not reason.strip():
        raise BillingError("reason: found none, wanted why; it stands on the credit note. Add --reason TEXT.")
    if to not in DESTINATIONS:
        raise BillingError(f'to: found "{to}", allowed: {", ".join(DESTINATIONS)}. Choose one.')
    before = standing(session, invoice)
    lines = lines_of(invoice.body)
    if kind == "credit":
        _check_remainder(invoice, lines, items[0], before, returned.read(session, invoice.organisation))
        _check_pack(session, invoice, lines[items[0].line - 1], items[0])
    body = _body(invoice, lines, items, before, reason.strip(), kind)
    year = customers.moment(now_us).astimezone(customers.zone(seller.zone)).year
    number, counters = numbers.take(session, CREDIT_NOTE, seller.credit_note_number, year)
    named = {"number": number, "issued": customers.shown_time(now_us), "seller": seller.body(), "to": to}
    grants, taken = packs.taken_back(
        wallet.grants(session, invoice.organisation), [(lines[item.line - 1], item.amount) for item in items]
    )
    body["paid_out"] = money.plain(_paid_out(session, invoice, body, to))
    if given:
        body["before"] = list(given)
    body = seal({**body, **named, "from_packs": {id: money.plain(amount) for id, amount in taken.items()}})
    document = Document(CREDIT_NOTE, number, invoice.organisation, body)
    _check_kept(session, invoice, amount_of(body, "total"))
    moves = _transfers(invoice, body, taken)
    back = amount_of(body, "to_prepaid")
    grants = wallet.returned(grants, back, now_us) if back else grants if taken else []
    act = Act(
        "credit_note.issue", actor, invoice.organisation, reference=once, fingerprint=fingerprint if once else "", transfers=moves,
        counters=counters,
        documents=(document, *(grant.document() for grant in grants)),
    )  # fmt: skip
    wallet.written(session, act, now_us)
    return body


def _check_remainder(invoice: Document, lines: Sequence[Line], item: Item, before: Standing, charged: Charged) -> None:
    """Refuses more than what is left of the line, of its tax rate after discounts, or of what it is for."""
    if not 1 <= item.line <= len(lines):
        raise BillingError(
            f"line: found {item.line}, invoice {invoice.id} has lines 1 to {len(lines)}. See `lode bill --show {invoice.id}`."
        )
    line, currency = lines[item.line - 1], invoice.body["currency"]
    if is_whole(line):
        raise BillingError(
            f"line: found {item.line}, a {line.charge or line.kind} on {invoice.id}, allowed: a line of something that was sold. "
            "What a coupon or cap takes off follows from the other lines: credit one of them."
        )
    if item.amount != money.coins(item.amount, currency):
        raise BillingError(f"amount: found {money.plain(item.amount)}, wanted whole coins of {currency}. Round it.")
    of_line = line.amount - before.lines.get(item.line, 0)
    same = [place for place, other in enumerate(lines, 1) if other.tax == line.tax]
    of_rate = sum(lines[place - 1].amount - before.lines.get(place, 0) for place in same)
    of_invoice = max(min(of_line, of_rate), 0)
    left = max(charged.creditable(line, of_invoice), 0)
    if item.amount > left:
        others = charged.elsewhere(returned.Thing.of(line), invoice.id)
        also = f", after what {returned.shown(others)} gave back of it" if left < of_invoice and others else ""
        raise BillingError(
            f"amount: found {money.plain(item.amount)}, allowed: up to {money.plain(left)} {currency}, "
            f"which is left of line {item.line} of "
            f"{invoice.id} and its tax rate{also}. "
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


def _paid_out(session: Session, invoice: Document, body: Mapping[str, Any], to: To) -> int:
    """What of a note leaves as money: never more than came from the customer and did not go back; the rest is kept. Errors: BillingError
    where nothing may leave.
    """
    total, settled, back = (money.parse(body[name], name, least=None) for name in ("total", "settled", "to_prepaid"))
    rest, owner, currency = total - settled - back, invoice.organisation, body["currency"]
    if to != "cash" or rest <= 0 or total <= 0:  # of an invoice in the customer's favour nothing is paid out: what was kept is less
        return 0
    came, went = returned.cash(session, owner, currency)
    if came <= went:
        raise BillingError(
            f'to: found "cash", allowed: "balance", because {money.plain(came)} {currency} came from {owner} and {money.plain(went)} '
            f"went back: nothing is left to pay out of {money.plain(rest)}. Leave --to cash out."
        )
    return min(rest, came - went)


def _transfers(invoice: Document, body: Mapping[str, Any], taken: Mapping[str, int]) -> tuple[Transfer, ...]:
    """Reversal: what was earned and taxed is not, what is owed is less."""
    owner, currency = invoice.organisation, body["currency"]
    receivable = accounts.receivable(owner)
    parts = [
        (accounts.revenue(currency), receivable, amount_of(body, "net")),
        (accounts.tax(currency), receivable, amount_of(body, "tax")),
        *packs.moves(owner, currency, taken),
        (receivable, accounts.prepaid(owner), amount_of(body, "to_prepaid")),
        (receivable, accounts.cash(currency), amount_of(body, "paid_out")),
    ]
    return moved(parts)
