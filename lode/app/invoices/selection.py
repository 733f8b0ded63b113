"""Which entries of the journal an invoice takes: of each (subscription, period) those that no invoice took, up to one sequence number.

No row is marked: the counters `invoiced...` say how much of each sum was taken, so a million requests cost one act, and every entry
is on exactly one document.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lode.app.books import accounts, journal
from lode.app.books.contracts import Session
from lode.core import money

SOURCES = ("accrued", "prepaid", "waived")
"""Accounts that a request's cost is debited to: owed, paid in advance, given away."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Sums of the entries of one part, all 10^-12 but `entries` and `quantities`.

    rated: what the requests cost by the usage table; charges, quantities: the same by charge, from the counters. accrued, prepaid,
    waived: by the ledger.
    """

    entries: int = 0
    rated: int = 0
    accrued: int = 0
    prepaid: int = 0
    waived: int = 0
    charges: Mapping[str, int] = field(default_factory=dict)
    quantities: Mapping[str, int] = field(default_factory=dict)

    def less(self, other: Taken) -> Taken:
        """What came since `other`."""
        sums = {name: getattr(self, name) - getattr(other, name) for name in ("entries", "rated", *SOURCES)}
        charges = {name: amount - other.charges.get(name, 0) for name, amount in self.charges.items()}
        quantities = {name: count - other.quantities.get(name, 0) for name, count in self.quantities.items()}
        return Taken(**sums, charges=charges, quantities=quantities)


@dataclass(frozen=True, slots=True)
class Part:
    """One subscription in one period. whole: all its entries; before: those on issued invoices. after: last sequence that one took."""

    subscription: str
    period: str
    whole: Taken
    before: Taken
    after: int = 0

    @property
    def new(self) -> Taken:
        """What no invoice took yet."""
        return self.whole.less(self.before)

    @property
    def is_open(self) -> bool:
        """Whether there is anything to invoice."""
        new = self.new
        return bool(new.entries or new.rated or any(new.charges.values()))

    def counters(self, through: int) -> dict[str, int]:
        """What the issuing act adds to the counters to take everything new up to `through`."""
        new, name = self.new, f"{self.subscription}|{self.period}"
        found = {f"invoiced|{name}|{field}": getattr(new, field) for field in ("entries", "rated", *SOURCES)}
        found[f"invoiced|{name}|through"] = through - self.after
        found |= {f"invoiced-amount|{name}|{charge}": amount for charge, amount in new.charges.items()}
        found |= {f"invoiced-quantity|{name}|{charge}": count for charge, count in new.quantities.items()}
        return {key: value for key, value in found.items() if value}

    def body(self, through: int) -> dict[str, Any]:
        """The selection as a document holds it."""
        new = self.new
        amounts = {name: money.plain(getattr(new, name)) for name in ("rated", *SOURCES)}
        return {
            "subscription": self.subscription, "period": self.period, "after": self.after, "through": through,
            "entries": new.entries, **amounts,
        }  # fmt: skip


def head(session: Session) -> int:
    """The journal's last sequence number."""
    return int(session.rows("SELECT sequence FROM head")[0][0])


def parts(session: Session, organisation: str, currency: str) -> list[Part]:
    """Every (subscription, period) of an organisation with entries, oldest first."""
    rated = session.rows(
        "SELECT subscription, period, COUNT(*), exact_sum(amount) FROM usage "
        "WHERE organisation = ? AND kind = 'customer' GROUP BY subscription, period",
        (organisation,),
    )
    sources = _sources(session, organisation, currency)
    counted = _counters(session, {subscription for subscription, *_ in rated})
    found = []
    for subscription, period, entries, amount in rated:
        name = f"{subscription}|{period}"
        whole = Taken(
            int(entries), int(amount), **sources[subscription, period],
            charges=counted["amount", name], quantities=counted["quantity", name],
        )  # fmt: skip
        taken = counted["invoiced", name]
        before = Taken(
            **{field: taken.get(field, 0) for field in ("entries", "rated", *SOURCES)},
            charges=counted["invoiced-amount", name], quantities=counted["invoiced-quantity", name],
        )  # fmt: skip
        found.append(Part(subscription, period, whole, before, taken.get("through", 0)))
    return sorted(found, key=lambda part: (part.period, part.subscription))


def _sources(session: Session, organisation: str, currency: str) -> dict[tuple[str, str], dict[str, int]]:
    """Where each part's cost was debited, by the ledger; what a step of a volume price gives back counts against it."""
    rows = session.rows(
        "SELECT u.subscription, u.period, t.debit, t.credit, exact_sum(t.amount) FROM usage u JOIN transfers t ON t.sequence = u.sequence "
        "WHERE u.organisation = ? AND u.kind = 'customer' GROUP BY u.subscription, u.period, t.debit, t.credit",
        (organisation,),
    )
    revenue = accounts.revenue(currency)
    word = {
        accounts.accrued(organisation): "accrued", accounts.prepaid(organisation): "prepaid", accounts.waived(currency): "waived",
    }  # fmt: skip
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SOURCES, 0))
    for subscription, period, debit, credit, amount in rows:
        if credit == revenue and debit in word:
            found[subscription, period][word[debit]] += int(amount)
        elif debit == revenue and credit in word:
            found[subscription, period][word[credit]] -= int(amount)
    return found


def _counters(session: Session, subscriptions: Iterable[str]) -> dict[tuple[str, str], dict[str, int]]:
    """Counters by (kind, "subscription|period"), then by charge."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for subscription in subscriptions:
        # a pattern, so that PostgreSQL's order of letters does not matter; `_` in an id matches more, which the split sorts out
        for name, amount in session.rows("SELECT name, amount FROM counters WHERE name LIKE ?", (f"%|{subscription}|%",)):
            kind, owner, period, charge = [*name.split("|", 3), "", "", ""][:4]
            if owner == subscription:
                found[kind, f"{owner}|{period}"][charge] = int(amount)
    return found


def taken_by(session: Session) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """(subscription, period) -> [(through, number), ...] in order: which document an entry is on. One pass over issued invoices."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for document in journal.documents(session, "invoice"):
        for part in document.body.get("selection", ()):
            found[part["subscription"], part["period"]].append((part["through"], document.id))
    return {name: sorted(ends) for name, ends in found.items()}


def number_of(taken: Mapping[tuple[str, str], list[tuple[int, str]]], subscription: str, period: str, sequence: int) -> str:
    """The invoice that took an entry, "" while none did."""
    return next((number for through, number in taken.get((subscription, period), ()) if sequence <= through), "")
