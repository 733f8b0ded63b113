"""The four books, compared at every close: acknowledged = metered = rated = invoiced + not yet invoiced + waived.

Each side comes from another table: requests from the journal, metering from `usage`, rating from the counters, money from the
ledger's transfers and balances. Where they differ, nothing is closed.

At a close only what came since the customer's last document is read (`selection.Checked`), so that it takes about as long in the
tenth year as in the first. That is enough: what was compared then is rows of the journal, which are chained by hashes, and the sums that it
came to are counters, written by the issuing act into the same chain. Whoever changes an old row of `usage` or `transfers` changes no
invoice any more, and `lode audit verify` finds it; so does `lode usage`, which reads everything. Balances and counters are compared
whole every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import orjson

from lode.app.books import accounts, journal
from lode.app.books.contracts import Session
from lode.app.invoices.selection import KINDS, SOURCES, Checked, Part
from lode.core import money

_PAGE = 5000
_NAMED = 8
"""Entries that a message names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One customer's books. Counts of requests; amounts in 10^-12. problems: what does not agree, in words; empty where all does."""

    acknowledged: int
    metered: int
    rated: int
    invoiced: int
    open: int
    waived: int
    problems: tuple[str, ...]

    @property
    def leakage(self) -> int:
        """Rated, and neither invoiced, nor to be invoiced, nor given away: must be 0."""
        return self.rated - self.invoiced - self.open - self.waived

    @property
    def completeness(self) -> str:
        """Ledger entries per acknowledged request, as text: must be "1"."""
        ratio = Fraction(self.metered, self.acknowledged) if self.acknowledged else Fraction(1)
        return "1" if ratio == 1 else f"{float(ratio):.9f}"

    def body(self) -> dict[str, Any]:
        amounts = {name: money.plain(getattr(self, name)) for name in ("rated", "invoiced", "open", "waived", "leakage")}
        counts = {"acknowledged": self.acknowledged, "metered": self.metered, "completeness": self.completeness}
        return {**counts, **amounts, "problems": list(self.problems)}


def compare(
    session: Session, organisation: str, currency: str, parts: Sequence[Part], done: Checked | None = None,
    lost: Sequence[str] | None = None,
) -> Identity:  # fmt: skip
    """The identity of one customer at this moment of the books. parts: all of its parts (`selection.parts`), read with the same `done`.

    lost: what `all_lost` found of it; None: it is looked for.
    """
    lost = _lost(session, organisation, done) if lost is None else lost
    missing, strange = (find(session, organisation, done) for find in (_unmetered, _strange))
    metered = sum(part.whole.entries for part in parts)
    problems = [f"answered and not metered: {_named(missing)}"] if missing else []
    if lost or strange:
        acknowledged = metered - len(strange) + len(lost)
        problems.append(
            f"the journal has {acknowledged:,} customer requests, the usage table {metered:,}: {_named([*lost, *strange])}"
        )
    for part in parts:
        problems += _of_part(session, organisation, currency, part)
    accrued = journal.balance(session, accounts.accrued(organisation))
    open_prepaid = sum(part.new.prepaid for part in parts)
    open_waived = sum(part.new.waived for part in parts)
    waived = sum(part.before.waived for part in parts)
    found = Identity(
        metered - len(strange) + len(lost) + len(missing), metered, sum(part.whole.rated for part in parts),
        sum(part.before.rated for part in parts) - waived, accrued + open_prepaid, waived + open_waived, tuple(problems),
    )  # fmt: skip
    if found.leakage and not problems:
        expected = sum(part.new.accrued for part in parts)
        text = (
            f"account {accounts.accrued(organisation)} holds {money.plain(accrued)}, its requests that no invoice took "
            f"{money.plain(expected)}: something else wrote to it"
        )
        return replace(found, problems=(text,))
    return found


_LOST = (
    "FROM journal j WHERE j.kind LIKE 'usage.%' AND j.kind <> 'usage.quarantine' AND NOT EXISTS (SELECT 1 FROM usage u WHERE "
    "u.sequence = j.sequence AND u.organisation = j.organisation)"
)


def all_lost(session: Session) -> dict[str, list[str]]:
    """Customer -> requests in the journal that the usage table has not. One pass: the journal has no index of customers."""
    found: dict[str, list[str]] = {}
    for owner, sequence, request_id in session.rows(f"SELECT j.organisation, j.sequence, j.reference {_LOST} ORDER BY j.sequence"):
        found.setdefault(owner, []).append(_entry(sequence, request_id))
    return found


def _lost(session: Session, organisation: str, done: Checked | None) -> list[str]:
    """The same of one customer."""
    # A request that was billed has a reference, by which the journal has an index.
    only = "" if done is None else "AND j.reference <> '' "
    rows = session.rows(
        f"SELECT j.sequence, j.reference {_LOST} AND j.organisation = ? AND j.sequence > ? {only}ORDER BY j.sequence",
        (organisation, done.through if done else 0),
    )
    return [_entry(sequence, request_id) for sequence, request_id in rows]


def _entry(sequence: int, request_id: str) -> str:
    return f"entry {sequence} ({request_id})"


def _strange(session: Session, organisation: str, done: Checked | None) -> list[str]:
    """Requests in the usage table that the journal has not."""
    rows = session.rows(
        "SELECT u.sequence, u.request_id FROM usage u WHERE u.organisation = ? AND u.at_us >= ? AND u.sequence > ? "
        "AND u.kind = 'customer' AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.sequence = u.sequence "
        "AND j.organisation = u.organisation AND j.kind LIKE 'usage.%') ORDER BY u.sequence",
        (organisation, *((done.oldest_us, done.through) if done else (-(2**62), -(2**62)))),
    )
    return [_entry(sequence, request_id) for sequence, request_id in rows]


def _unmetered(session: Session, organisation: str, done: Checked | None) -> list[str]:
    """Stored answers to requests that the journal does not know: all of them, they are kept for a day or so."""
    rows = session.rows(
        "SELECT a.request_id FROM answers a WHERE a.organisation = ? AND NOT EXISTS (SELECT 1 FROM journal j WHERE "
        "j.organisation = a.organisation AND j.reference = a.request_id AND j.reference <> '') ORDER BY a.request_id",
        (organisation,),
    )
    return [str(request_id) for (request_id,) in rows]


def _of_part(session: Session, organisation: str, currency: str, part: Part) -> list[str]:
    """What is wrong with one part; the entries are looked for only where its sums differ."""
    whole = part.whole
    where = f"{part.subscription or 'no contract'} {part.period}".strip()
    problems = []
    debited = sum(getattr(whole, name) for name in SOURCES)
    if debited != whole.rated or (part.subscription and sum(whole.charges.values()) != whole.rated):
        wrong = _wrong_entries(session, organisation, currency, part)
        sums = (
            f"usage {money.plain(whole.rated)}, charges {money.plain(sum(whole.charges.values()))}, ledger {money.plain(debited)}"
        )
        problems.append(f"{where}: {sums}; {_named(wrong) if wrong else 'no single entry is wrong: its counters are'}")
    if not part.subscription and whole.rated:
        problems.append(f"{where}: {money.plain(whole.rated)} were charged without a contract, so no invoice can take them")
    new = part.new
    if new.entries < 0 or part.before.entries > whole.entries:
        problems.append(f"{where}: invoices took {part.before.entries:,} entries, there are {whole.entries:,}")
    return problems


def _wrong_entries(session: Session, organisation: str, currency: str, part: Part) -> list[str]:
    """Entries whose charges or transfers do not make up their amount."""
    revenue, after = accounts.revenue(currency), 0
    found: list[str] = []
    while True:
        rows = session.rows(
            "SELECT sequence, request_id, amount, charges FROM usage WHERE organisation = ? AND subscription = ? AND period = ? "
            f"AND {KINDS} AND sequence > ? ORDER BY sequence LIMIT ?",
            (organisation, part.subscription, part.period, after, _PAGE),
        )
        if not rows:
            return found
        moved = _moved(session, revenue, rows[0][0], rows[-1][0])
        for sequence, request_id, amount, charges in rows:
            held = sum(int(value) for value in orjson.loads(charges).values())
            if held != int(amount) or moved.get(sequence, 0) != int(amount):
                found.append(_entry(sequence, request_id))
        after = rows[-1][0]


def _moved(session: Session, revenue: str, first: int, last: int) -> dict[int, int]:
    """Sequence -> what its transfers earned."""
    rows = session.rows(
        "SELECT sequence, credit, amount FROM transfers WHERE sequence >= ? AND sequence <= ? AND (credit = ? OR debit = ?)",
        (first, last, revenue, revenue),
    )
    found: dict[int, int] = {}
    for sequence, credit, amount in rows:
        found[sequence] = found.get(sequence, 0) + (int(amount) if credit == revenue else -int(amount))
    return found


def _named(entries: Sequence[str]) -> str:
    more = f" and {len(entries) - _NAMED:,} more" if len(entries) > _NAMED else ""
    return ", ".join(entries[:_NAMED]) + more
