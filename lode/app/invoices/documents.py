"""What is issued to customers: lines, totals, and the seal that shows any later change.

Amounts inside are integers of 10^-12; in the JSON of a document they are text. An issued document is written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lode.app.books import journal
from lode.app.books.contracts import Document, Session, Transfer
from lode.core import money
from lode.core.errors import BillingError, NotFoundError, near_miss

INVOICE, CREDIT_NOTE = "invoice", "credit_note"
"""Kinds of documents in the books."""

REFERENCE = "\x1e"
"""Begins the references of this package's acts: no header holds this character, so no customer's request id can take one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. exact: before, amount: after its one rounding to whole coins.

    kind: usage, fee, credit (unused part of a fee), true_up, adjustment (late usage, corrected fees), correction (of what usage cost),
    cap, coupon, trial, waived, prepaid (a pack), returned (what credit notes gave back before). start, end: ISO 8601 UTC.
    quantity: decimal text. unit_price: text, "" where several prices apply. category: of its tax, "" for the standard one. tax: name of
    the rate in `taxes`, "" for none.
    """

    kind: str
    text: str
    exact: int
    amount: int
    quantity: str = ""
    unit: str = ""
    unit_price: str = ""
    charge: str = ""
    plan: str = ""
    subscription: str = ""
    period: str = ""
    start: str = ""
    end: str = ""
    category: str = ""
    tax: str = ""

    @property
    def is_used(self) -> bool:
        """Whether it is what requests came to; a true-up that late usage changed has no quantity."""
        return self.kind in ("usage", "correction") or (self.kind == "adjustment" and bool(self.quantity))

    def body(self) -> dict[str, Any]:
        """As it stands in a document; empty fields are left out."""
        named = {name: getattr(self, name) for name in Line.__slots__ if name not in ("exact", "amount")}
        written = {name: value for name, value in named.items() if value}
        return {**written, "exact": money.plain(self.exact), "amount": money.plain(self.amount)}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Line:
        """The line that `body` wrote."""
        amounts: dict[str, Any] = {name: money.parse(body[name], f"line.{name}", least=None) for name in ("exact", "amount")}
        texts: dict[str, Any] = {name: value for name, value in body.items() if name in Line.__slots__ and name not in amounts}
        return cls(**texts, **amounts)


def canonical(body: Mapping[str, Any]) -> bytes:
    """The bytes that are sealed: sorted keys, no spaces."""
    return orjson.dumps(dict(body), option=orjson.OPT_SORT_KEYS)


def seal(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with its SHA-256, over everything else in it."""
    open_body = {name: value for name, value in body.items() if name != "seal"}
    return {**open_body, "seal": hashlib.sha256(canonical(open_body)).hexdigest()}


def is_sealed(body: Mapping[str, Any]) -> bool:
    """Whether nothing was changed since."""
    return bool(seal(body)["seal"] == body.get("seal"))


def issued(session: Session, number: str, kind: str = INVOICE) -> Document:
    """An issued document by its number. Errors: NotFoundError where there is none, BillingError where it was changed in the database."""
    found = journal.document(session, kind, number)
    if found is None:
        numbers = [id for (id,) in session.rows("SELECT id FROM documents WHERE kind = ? ORDER BY id", (kind,))]
        word = kind.replace("_", " ")
        near = near_miss(number, numbers)
        raise NotFoundError(f'{word}: found "{number}", which was never issued.{near} See `lode bill --list`.')
    if not is_sealed(found.body):
        raise BillingError(f"{kind} {number}: its seal is broken: somebody changed it in the database. Run `lode audit verify`.")
    return found


def lines_of(body: Mapping[str, Any]) -> list[Line]:
    """The lines of an issued document."""
    return [Line.of(line) for line in body["lines"]]


def amount_of(body: Mapping[str, Any], name: str) -> int:
    """An amount that stands as text in a document."""
    return money.parse(body[name], f"{body['number']}.{name}", least=None)


def total(lines: Sequence[Line]) -> int:
    """Sum of rounded lines; never rounded again."""
    return sum(line.amount for line in lines)


def moved(parts: Sequence[tuple[str, str, int]]) -> tuple[Transfer, ...]:
    """(debit, credit, amount) as transfers; the other way round where an amount is less than 0, none where it is 0."""
    found = [
        Transfer(debit, credit, amount) if amount > 0 else Transfer(credit, debit, -amount)
        for debit, credit, amount in parts
        if amount
    ]
    return tuple(found)
