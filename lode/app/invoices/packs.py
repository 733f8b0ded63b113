"""Prepaid credit that a plan sells: its price is a line of an invoice, its credit a grant of the same act."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lode.app.books import accounts
from lode.app.books.contracts import Document, Session, Transfer
from lode.app.invoices import wallet
from lode.app.invoices.documents import Line, moved
from lode.app.invoices.terms import Cut

_DAY_US = 86_400_000_000
_MORE = "_more"
"""Ends the id of the grant of what a pack holds beyond its price."""


def deposit(organisation: str) -> str:
    """The account that the price of packs goes to."""
    return accounts.prepaid(organisation)


def sold(
    session: Session, organisation: str, currency: str, packs: Sequence[tuple[Cut, str, int]], now_us: int
) -> tuple[tuple[Document, ...], tuple[Transfer, ...]]:  # fmt: skip
    """The grants of packs, and what they hold more or less than they cost. The price itself is the invoice's transfer."""
    if not packs:
        return (), ()
    grants, moves = list(wallet.drawn(session, organisation)), []
    for cut, name, price in packs:
        credit, expires_days, priority = _options(cut, name)
        expires_us = cut.period.start_us + expires_days * _DAY_US if expires_days else None
        id = _id(cut.name, name)
        paid, reason = min(credit, price), f"{cut.plan.id}, {name}"
        grants.append(wallet.Grant(id, organisation, paid, paid, now_us, priority, expires_us, reason=reason).document())
        if credit > price:  # nobody paid for it: used after what was paid, and never paid out
            more = wallet.Grant(
                f"{id}{_MORE}", organisation, credit - price, credit - price, now_us, priority, expires_us, True, reason
            )
            grants.append(more.document())
        moves.append((accounts.waived(currency), accounts.prepaid(organisation), max(credit - price, 0)))
        moves.append((accounts.prepaid(organisation), accounts.revenue(currency), max(price - credit, 0)))
    return tuple(grants), moved(moves)


def taken_back(found: Sequence[wallet.Grant], lines: Sequence[tuple[Line, int]]) -> tuple[list[wallet.Grant], dict[str, int]]:
    """The grants after lines were credited, (line, amount): nobody keeps the credit of a pack that he need not pay. And grant -> what
    was taken of it: what is left at most, and of what was given beyond the price all, where the line is credited whole.
    """
    taken: dict[str, int] = {}
    known = {grant.id: grant.left for grant in found}
    for line, amount in lines:
        if line.kind == "prepaid":
            id = _id(f"{line.subscription}|{line.period}", line.charge)
            taken[id] = min(amount, known.get(id, 0))
            taken[f"{id}{_MORE}"] = known.get(f"{id}{_MORE}", 0) if amount == line.amount else 0
    taken = {id: amount for id, amount in taken.items() if amount}
    return changed(found, taken, -1), taken


def changed(found: Sequence[wallet.Grant], amounts: Mapping[str, int], sign: int) -> list[wallet.Grant]:
    """The grants with more (sign 1) or less (-1) in them."""
    more = {id: sign * amount for id, amount in amounts.items()}
    return [replace(grant, amount=grant.amount + more.get(grant.id, 0), left=grant.left + more.get(grant.id, 0)) for grant in found]


def moves(organisation: str, currency: str, taken: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """(debit, credit, amount) of what was taken back: what was paid for is no revenue that goes back, what was given is not given."""
    prepaid, given = accounts.prepaid(organisation), sum(amount for id, amount in taken.items() if id.endswith(_MORE))
    paid = sum(taken.values()) - given
    return [(prepaid, accounts.revenue(currency), paid), (prepaid, accounts.waived(currency), given)]


def _id(cut: str, name: str) -> str:
    """Named after what it is: the same pack cannot be granted twice. cut: as counters name it."""
    return f"grt_{hashlib.sha256(f'{cut}|{name}'.encode()).hexdigest()[:16]}"


def _options(cut: Cut, name: str) -> tuple[int, int, int]:
    """Credit (10^-12), days until it expires (0: never), priority; as the plan's record says."""
    (item,) = (item for item in cut.plan.charges if item.name == name)
    charge = item.charge
    found = tuple(int(getattr(charge, word)) for word in ("credit", "expires_days", "priority"))
    return found[0], found[1], found[2]
