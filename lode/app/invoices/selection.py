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
from lode.app.invoices.documents import INVOICE
from lode.core import money

SOURCES = ("accrued", "prepaid", "waived")
"""Accounts that a request's cost is debited to: owed, paid in advance, given away."""
SUMS = ("entries", "rated", *SOURCES)
COUNTED = {"charges": "amount", "quantities": "quantity", "corrected": "corrected", "recounted": "recounted"}
"""Sums by charge, and their counters: what all entries come to, and what of that a corrected price changed after they were invoiced."""
_WORDS = (*COUNTED.values(), "rest", "invoiced", *(f"invoiced-{word}" for word in COUNTED.values()))
"""Counters of a contract in a period begin so."""
KINDS = "kind IN ('customer', 'correction')"
"""Rows of the usage table that are revenue: requests, and what a corrected price changed (`rerating.py`)."""
_LATE_US = 36 * 86_400_000_000
"""An entry is written at most so long after its own time: events that were measured elsewhere may be 35 days late."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Sums of the entries of one part, all 10^-12 but `entries` and quantities.

    entries: requests. rated: what they cost by the usage table. accrued, prepaid, waived: by the ledger. The others: by charge, from
    the counters; corrected (and recounted, its quantities): the part of charges that a correction of the price changed.
    """

    entries: int = 0
    rated: int = 0
    accrued: int = 0
    prepaid: int = 0
    waived: int = 0
    charges: Mapping[str, int] = field(default_factory=dict)
    quantities: Mapping[str, int] = field(default_factory=dict)
    corrected: Mapping[str, int] = field(default_factory=dict)
    recounted: Mapping[str, int] = field(default_factory=dict)

    def less(self, other: Taken) -> Taken:
        """What came since `other`."""
        sums = {name: getattr(self, name) - getattr(other, name) for name in SUMS}
        return _taken(sums, {name: _less(getattr(self, name), getattr(other, name)) for name in COUNTED})


def _taken(sums: Mapping[str, int], counted: Mapping[str, Mapping[str, int]]) -> Taken:
    entries, rated, accrued, prepaid, waived = (sums.get(name, 0) for name in SUMS)
    charges, quantities, corrected, recounted = (counted[name] for name in COUNTED)
    return Taken(entries, rated, accrued, prepaid, waived, charges, quantities, corrected, recounted)


def _less(whole: Mapping[str, int], part: Mapping[str, int]) -> dict[str, int]:
    return {name: amount - part.get(name, 0) for name, amount in whole.items()}


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
        return any(getattr(new, name) for name in SUMS) or any(new.charges.values())

    def counters(self, through: int) -> dict[str, int]:
        """What the issuing act adds to the counters to take everything new up to `through`."""
        new, name = self.new, f"{self.subscription}|{self.period}"
        found = {f"invoiced|{name}|{field}": getattr(new, field) for field in SUMS}
        found[f"invoiced|{name}|through"] = through - self.after
        for sums, word in COUNTED.items():
            found |= {f"invoiced-{word}|{name}|{charge}": amount for charge, amount in getattr(new, sums).items()}
        return {key: value for key, value in found.items() if value}

    def body(self, through: int) -> dict[str, Any]:
        """The selection as a document holds it."""
        new = self.new
        amounts = {name: money.plain(getattr(new, name)) for name in ("rated", *SOURCES)}
        return {
            "subscription": self.subscription, "period": self.period, "after": self.after, "through": through,
            "entries": new.entries, **amounts,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checked:
    """Up to which entry, written when, an issued document compared a customer's books (`identity.py` says why that is enough)."""

    through: int
    at_us: int

    @property
    def oldest_us(self) -> int:
        """Requests that were written later did not happen earlier."""
        return self.at_us - _LATE_US


def head(session: Session) -> int:
    """The journal's last sequence number."""
    return int(session.rows("SELECT sequence FROM head")[0][0])


def checked(session: Session, organisation: str) -> Checked | None:
    """What the last issued document of a customer compared; None where there is none."""
    through = max((item.body["through"] for item in journal.documents(session, INVOICE, organisation)), default=0)
    found = session.rows("SELECT at_us FROM journal WHERE sequence = ?", (through,))
    return Checked(through, int(found[0][0])) if found else None


def parts(session: Session, organisation: str, currency: str, done: Checked | None = None) -> list[Part]:
    """Every (subscription, period) of an organisation with entries, oldest first.

    done: only entries that no document took are read; the others are as its counters say. None: every entry is read.
    """
    since = ("", ()) if done is None else ("AND at_us >= ? AND sequence > ? ", (done.oldest_us, done.through))
    rows = session.rows(
        f"SELECT DISTINCT subscription, period FROM usage WHERE organisation = ? {since[0]}AND {KINDS}", (organisation, *since[1])
    )
    names = {(str(subscription), str(period)) for subscription, period in rows}
    owned = [
        id for (id,) in session.rows("SELECT id FROM documents WHERE kind = 'subscription' AND organisation = ?", (organisation,))
    ]
    counted = counters_of(session, {*owned, *(subscription for subscription, _ in names)})
    names |= {(owner, period) for word, owner, period in counted if word in ("amount", "quantity", "invoiced")}
    found = []
    for subscription, period in names:
        at = (subscription, period)
        taken = counted.get(("invoiced", *at), {})
        before = _taken(taken, {name: counted.get((f"invoiced-{word}", *at), {}) for name, word in COUNTED.items()})
        after = taken.get("through", 0)
        read = _read(session, organisation, currency, at, 0 if done is None else after, done)
        if done is not None:
            read = {name: amount + getattr(before, name) for name, amount in read.items()}
        whole = _taken(read, {name: counted.get((word, *at), {}) for name, word in COUNTED.items()})
        found.append(Part(subscription, period, whole, before, after))
    return sorted(found, key=lambda part: (part.period, part.subscription))


def _read(
    session: Session, organisation: str, currency: str, part: tuple[str, str], after: int, done: Checked | None
) -> dict[str, int]:  # fmt: skip
    """SUMS of a part's entries after a sequence number. Where each one's cost was debited is what the ledger says; what a step of a
    volume price gives back counts against it.
    """
    where = "organisation = ? AND subscription = ? AND period = ? AND sequence > ?"
    values: tuple[Any, ...] = (organisation, *part, after)
    if done is not None and not part[0]:  # no contract: not by the index of contracts, which has everybody's such rows in one place
        where = "organisation = ? AND subscription || '' = ? AND period || '' = ? AND sequence > ? AND at_us >= ?"
        values = (organisation, *part, max(after, done.through), done.oldest_us)
    entries, rated = session.rows(
        f"SELECT SUM(CASE WHEN kind = 'customer' THEN 1 ELSE 0 END), exact_sum(amount) FROM usage WHERE {where} AND {KINDS}", values
    )[0]
    rows = session.rows(
        "SELECT t.debit, t.credit, exact_sum(t.amount) FROM transfers t JOIN (SELECT sequence AS entry FROM usage "
        f"WHERE {where} AND {KINDS}) u ON t.sequence = u.entry GROUP BY t.debit, t.credit",
        values,
    )
    revenue = accounts.revenue(currency)
    word = {
        accounts.accrued(organisation): "accrued", accounts.prepaid(organisation): "prepaid", accounts.waived(currency): "waived",
    }  # fmt: skip
    found = dict.fromkeys(SUMS, 0) | {"entries": int(entries or 0), "rated": int(rated or 0)}
    for debit, credit, amount in rows:
        if credit == revenue and debit in word:
            found[word[debit]] += int(amount)
        elif debit == revenue and credit in word:
            found[word[credit]] -= int(amount)
    return found


def counters_of(session: Session, subscriptions: Iterable[str]) -> dict[tuple[str, str, str], dict[str, int]]:
    """Counters by (word, subscription, period), then by charge."""
    found: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    # Ranges, which the key finds, so that nobody reads everybody's counters for each contract.
    ranges = " OR ".join(["(name COLLATE BINARY >= ? AND name COLLATE BINARY < ?)"] * len(_WORDS))
    for subscription in subscriptions:
        ends = [f"{word}|{subscription}{end}" for word in _WORDS for end in ("|", "}")]  # "}" is the character after "|"
        for name, amount in session.rows(f"SELECT name, amount FROM counters WHERE {ranges}", ends):
            word, owner, period, charge = [*name.split("|", 3), "", "", ""][:4]
            found[word, owner, period][charge] = int(amount)
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
