"""Prepaid credit that a plan sells: its price is a line of an invoice, its credit a grant of the same act."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lode.app.books import accounts
from lode.app.books.contracts import Document, Session, Transfer
from lode.app.invoices import wallet
from lode.app.invoices.notes import moved
from lode.app.invoices.terms import Cut

_DAY_US = 86_400_000_000


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
        # named after what it is: the same pack cannot be granted twice
        id = f"grt_{hashlib.sha256(f'{cut.name}|{name}'.encode()).hexdigest()[:16]}"
        grant = wallet.Grant(id, organisation, credit, credit, now_us, priority, expires_us, reason=f"{cut.plan.id}, {name}")
        grants.append(grant.document())
        moves.append((accounts.waived(currency), accounts.prepaid(organisation), max(credit - price, 0)))
        moves.append((accounts.prepaid(organisation), accounts.revenue(currency), max(price - credit, 0)))
    return tuple(grants), moved(moves)


def _options(cut: Cut, name: str) -> tuple[int, int, int]:
    """Credit (10^-12), days until it expires (0: never), priority; as the plan's record says."""
    (item,) = (item for item in cut.plan.charges if item.name == name)
    charge = item.charge
    found = tuple(int(getattr(charge, word)) for word in ("credit", "expires_days", "priority"))
    return found[0], found[1], found[2]
