"""What a customer was charged for one thing, on all its documents, and what of that was given back: no money goes back twice.

A thing is a charge, a fee or a discount of a contract in a period. Credit notes, corrected prices, unused fees, cheaper tiers, caps and
coupons all give back of it, in any order: together at most what was charged. What a note gave back first is taken off by a line of its
own (kind `returned`) where an invoice gives it back later; what an invoice gave back first is not left for a note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lode.app.books import accounts, journal
from lode.app.books.contracts import Session
from lode.app.invoices import customers
from lode.app.invoices.categories import RETURNED, is_whole
from lode.app.invoices.documents import CREDIT_NOTE, INVOICE, Line, lines_of

# Named, because the journal has an index of kinds, and none of customers.
_CASH_ACTS = ("credit.add", "credit.refund", "payment.receive", "credit_note.issue")


class Thing(NamedTuple):
    """sign: -1 of what is taken off a whole period (a coupon, a trial, a cap), which has no contract and no category, because several
    may share it: its period is when it begins. Else 1, and category is of its tax; packs of prepaid credit are a category of their own.
    """

    subscription: str
    period: str
    name: str
    category: str
    sign: int

    @classmethod
    def of(cls, line: Line) -> Thing:
        if is_whole(line) or (line.kind == RETURNED and line.amount < 0):
            return cls("", line.start, line.charge, "", -1)
        return cls(line.subscription, line.period, line.charge, line.kind if line.kind == "prepaid" else line.category, 1)


@dataclass(slots=True)
class Charged:
    """All documents of a customer, by thing, 10^-12 in what lines hold. charged: by invoices; given: by credit notes, as far as no
    invoice has taken it off since. parts: what is left of it by tax category. taken: what lines of kind `returned` took off, and no
    invoice that was written anew has left out since, by tax category. givers: documents that gave back. notes: of each invoice.
    times: when a thing begins and ends, microseconds.
    """

    charged: dict[Thing, int] = field(default_factory=lambda: defaultdict(int))
    given: dict[Thing, int] = field(default_factory=lambda: defaultdict(int))
    parts: dict[tuple[Thing, str], int] = field(default_factory=lambda: defaultdict(int))
    taken: dict[Thing, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    givers: dict[Thing, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    notes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    times: dict[Thing, tuple[int, int]] = field(default_factory=dict)

    def left(self, thing: Thing) -> int:
        """What the customer is still charged for a thing; of a discount less than 0."""
        return self.charged[thing] - self.given[thing]

    def whole(self, line: Line) -> int:
        """What it is still charged for everything in the time of a line, discounts taken off: of its tax category, or of all where that is
        less.
        """
        found = self.within(line)
        of_category = sum(amount for (_, category), amount in found.items() if category == line.category)
        return min(of_category, sum(found.values()))

    def within(self, line: Line) -> dict[tuple[Thing, str], int]:
        """What is left, by category, of everything in the time of a line: of its contract's period, and of the discounts over that."""
        thing = Thing.of(line)
        start, _ = self.times[thing]
        spans = [span for other, span in self.times.items() if other.sign < 0 and span[0] <= start < span[1]]
        return {
            (other, category): amount
            for (other, category), amount in self.parts.items()
            if (other.category == "prepaid") == (thing.category == "prepaid")
            and (other[:2] == thing[:2] or any(first <= self.times[other][0] < last for first, last in spans))
        }

    def creditable(self, line: Line, amount: int) -> int:
        """How much of `amount`, which is left of a line, can be credited: of its thing, and of everything in its time. A line that gave
        something back can be taken back whole.
        """
        thing = Thing.of(line)
        if amount * thing.sign > 0:
            left = min(thing.sign * one for one in (amount, self.left(thing), self.parts[thing, line.category]))
            amount = thing.sign * max(left, 0)
        return max(min(amount, self.whole(line)), 0) if amount > 0 else amount

    def elsewhere(self, thing: Thing, but: str = "") -> list[str]:
        """Documents that gave back of a thing; but: not this invoice and its notes."""
        known = {but, *self.notes[but]}
        return sorted(number for number, amount in self.givers[thing].items() if number not in known and amount > 0)

    def given_of(self, subscription: str, period: str, start: str) -> dict[tuple[str, int], int]:
        """What credit notes gave back of each thing of a contract's period, by (name, sign); coupons, trials and packs left out."""
        cap = Thing("", start, "cap", "", -1)
        of = {thing: amount for thing, amount in self.given.items() if thing[:2] == (subscription, period) or thing == cap}
        return {(thing.name, thing.sign): amount for thing, amount in of.items() if amount and thing.category != "prepaid"}

    def invoiced(self, number: str, line: Line, *, anew: bool = False) -> None:
        """Count a line of an invoice. anew: one that was written anew: what a void gave back of the old one is charged again."""
        thing = Thing.of(line)
        if line.kind == RETURNED or (anew and line.amount * thing.sign > 0):
            self.given[thing] -= line.amount
            self.taken[thing][line.category] += line.amount
        else:
            self.charged[thing] += line.amount
        self.parts[thing, line.category] += line.amount
        if line.amount * thing.sign < 0 or line.kind == RETURNED:
            self.givers[thing][number] -= line.amount * thing.sign
        begins, ends = (customers.micros(text) if text else 0 for text in (line.start, line.end))
        known = self.times.get(thing, (begins, ends))
        self.times[thing] = min(known[0], begins), max(known[1], ends)

    def credited(self, number: str, line: Line, *, anew: bool = False) -> None:
        """Count a line of a credit note. anew: one that voided an invoice which was written anew since."""
        thing = Thing.of(line)
        if line.amount * thing.sign > 0:
            self.given[thing] += line.amount
            self.taken[thing][line.category] -= line.amount if anew or line.kind == RETURNED else 0
        else:  # what an invoice gave back is charged again
            self.charged[thing] -= line.amount
        self.parts[thing, line.category] -= line.amount
        self.givers[thing][number] += line.amount * thing.sign


def read(session: Session, organisation: str) -> Charged:
    """Everything that was issued to a customer."""
    found, replaced = Charged(), set[str]()
    for invoice in journal.documents(session, INVOICE, organisation):
        anew = invoice.body.get("replaces", "")
        replaced.add(anew)
        for line in lines_of(invoice.body):
            found.invoiced(invoice.id, line, anew=bool(anew))
    for note in journal.documents(session, CREDIT_NOTE, organisation):
        found.notes[note.body["invoice"]].add(note.id)
        is_undone = note.body["kind"] == "void" and note.body["invoice"] in replaced
        for line in lines_of(note.body):
            found.credited(note.id, line, anew=is_undone)
    return found


def written_anew(session: Session, organisation: str, lines: Sequence[Line]) -> list[Line]:
    """Lines that a void took back, as they are charged again: less what invoices took off since, because the void had given it back."""
    taken, made = read(session, organisation).taken, [one for one in lines if one.kind != RETURNED]
    for is_own in (True, False):  # of a discount: what was taken off in the tax category of a line first
        for place, line in enumerate(made):
            thing = Thing.of(line)
            of = taken[thing]
            most = (line.amount, sum(of.values()), of[line.category] if is_own else line.amount)
            less = thing.sign * max(min(thing.sign * amount for amount in most), 0)
            of[line.category] -= less
            amount = line.amount - less
            if less:
                made[place] = replace(line, exact=amount, amount=amount, quantity="", unit="", unit_price="")
    return taken_off(session, organisation, made)


def taken_off(session: Session, organisation: str, lines: Sequence[Line]) -> list[Line]:
    """Lines of a document to be; and one more for each thing of which less is charged and credit notes gave that back already."""
    less = [line for line in lines if line.amount < 0 or line.amount * Thing.of(line).sign < 0]
    if not less or not journal.documents(session, CREDIT_NOTE, organisation):
        return list(lines)
    found, back = read(session, organisation), dict[tuple[Thing, str], Line]()
    for line in lines:
        found.invoiced("", line)
    for line in less:
        thing = Thing.of(line)
        if line.amount * thing.sign < 0:
            _take_off(found, back, line, thing, line.category, min(-found.left(thing) * thing.sign, abs(line.amount)))
    for line in less:  # what notes gave back before a discount came, or with a larger one: of the same tax category first
        rest, within = -line.amount, found.within(line)
        for thing, category in sorted(within, key=lambda name: (name[0] != Thing.of(line), name[1] != line.category)):
            if rest > 0 and thing.sign > 0:
                still = found.whole(line) if category == line.category else sum(found.within(line).values())
                rest -= _take_off(found, back, line, thing, category, min(-still, rest))
    return [*lines, *back.values()]


def _take_off(found: Charged, back: dict[tuple[Thing, str], Line], line: Line, thing: Thing, category: str, wanted: int) -> int:
    """Add to the line in `back` up to `wanted` of what credit notes gave back of a thing; how much that is. line: which lowers it."""
    size = min(wanted, thing.sign * found.given[thing])
    if size <= 0:
        return 0
    if thing != Thing.of(line):  # a discount: what it is taken off was given back
        start, end = (customers.shown_time(moment) for moment in found.times[thing])
        line = replace(
            line, kind=RETURNED, charge=thing.name, subscription=thing.subscription, period=thing.period, start=start, end=end
        )
    text, amount = f"{_named(line)}, given back by {shown(found.elsewhere(thing))}", size * thing.sign
    more = replace(
        line, kind=RETURNED, text=text, exact=amount, amount=amount, quantity="", unit="", unit_price="", category=category
    )
    found.invoiced("", more)
    before = back.get((thing, category), replace(more, exact=0, amount=0))
    back[thing, category] = replace(before, exact=before.exact + amount, amount=before.amount + amount)
    return size


def _named(line: Line) -> str:
    return f"coupon {line.charge}" if line.kind == "coupon" else line.charge or line.text


def shown(found: Sequence[str]) -> str:
    """Numbers of documents in a sentence."""
    return ", ".join(found[:3]) + f" and {len(found) - 3} more" * (len(found) > 3)


def cash(session: Session, organisation: str, currency: str) -> tuple[int, int]:
    """Money that came from a customer, and that went back, ever."""
    account = accounts.cash(currency)
    rows = session.rows(
        "SELECT t.debit, t.credit, exact_sum(t.amount) FROM journal j JOIN transfers t ON t.sequence = j.sequence "
        "WHERE j.kind IN (?, ?, ?, ?) AND j.kind <> 'usage.settle' AND j.organisation = ? AND (t.debit = ? OR t.credit = ?) "
        "GROUP BY t.debit, t.credit",
        (*_CASH_ACTS, organisation, account, account),
    )
    came = sum(int(amount) for debit, _, amount in rows if debit == account)
    return came, sum(int(amount) for _, credit, amount in rows if credit == account)
