"""A price that was wrong: what was used is rated anew by the version that corrects it, and the difference is booked.

No entry changes. For each project, key, model and day of a period one more entry says by how much its charges were wrong, so that
every sum of a period (counters, usage, ledger) is what the corrected plan would have given from the start, to the last 10^-12. What
an invoice holds already becomes a line of the next one (`drafting.py`); what none holds is invoiced at the corrected price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Document, Session, Store, Used
from lode.app.invoices import customers, returned, selection, terms, wallet
from lode.app.invoices.documents import INVOICE, moved
from lode.app.invoices.selection import Part, Taken
from lode.app.invoices.terms import Cut
from lode.app.prices import corrections, subscriptions
from lode.app.prices.corrections import Correction
from lode.app.prices.periods import local_date
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import KIND, Subscription
from lode.app.prices.tariff import Tariff, counter
from lode.core import money
from lode.core.errors import BillingError, ConflictError

ENTRY = "correction"
"""Kind of the usage entries that it writes."""
_PAGE = 5000
_DAY_US = 86_400_000_000
_TRIES = 5
_WORDS = ("amount", "quantity", "rest")
_FIELDS = "sequence, kind, project, key, model, version, at_us, units, charges, amount, cost, cost_currency"
Place = tuple[str, str, str, int, int]
"""project, key, model, its version, day since 1970."""


@dataclass(slots=True)
class Change:
    """Of one place. at_us: its first request. charges: by how much each changes; given: by how much what of them is given away."""

    at_us: int
    charges: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    given: int = 0

    @property
    def owed(self) -> int:
        """What the customer owes more."""
        return sum(self.charges.values()) - self.given


@dataclass(slots=True)
class Rerated:
    """One period of one contract, before and after. cut: with the corrected plan; was: the one before. is_billed: whether an invoice
    closed it.

    counters: as the books have them, by (word, charge); taken: those that invoices hold; after: last entry that one took. given: what
    credit notes gave back of each thing. new: counters as the corrected plan gives them; unbilled: of them, what entries came to that no
    invoice took. through: last entry that was read.
    """

    cut: Cut
    was: Plan
    is_billed: bool
    counters: Mapping[tuple[str, str], int]
    taken: Mapping[tuple[str, str], int]
    after: int
    given: Mapping[tuple[str, int], int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unbilled: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    changes: dict[Place, Change] = field(default_factory=dict)
    through: int = 0
    tariffs: dict[str, Tariff] = field(default_factory=dict)

    def read(self, session: Session) -> None:
        """Rate what was settled since `through`, in that order. Errors: BillingError where the plan cannot price an entry."""
        name = (self.cut.subscription.id, self.cut.period.label)
        while True:
            rows = session.rows(
                f"SELECT {_FIELDS} FROM usage WHERE subscription = ? AND period = ? AND kind IN ('customer', '{ENTRY}') "
                "AND sequence > ? ORDER BY sequence LIMIT ?",
                (*name, self.through, _PAGE),
            )
            given = self._given(session, rows)
            for row in rows:
                self._one(*row, given=given.get(row[0], 0))
            if len(rows) < _PAGE:
                return

    def _given(self, session: Session, rows: Sequence[Sequence[Any]]) -> dict[int, int]:
        """Entry -> what of it was given away: in a trial, or beyond a budget."""
        if not rows:
            return {}
        account = accounts.waived(self.cut.plan.currency)
        found = session.rows(
            "SELECT sequence, debit, amount FROM transfers WHERE (debit = ? OR credit = ?) AND sequence IN (SELECT sequence FROM usage "
            "WHERE subscription = ? AND period = ? AND sequence >= ? AND sequence <= ?)",
            (account, account, self.cut.subscription.id, self.cut.period.label, rows[0][0], rows[-1][0]),
        )
        return {sequence: int(amount) if debit == account else -int(amount) for sequence, debit, amount in found}

    def _one(
        self, sequence: int, kind: str, project: str, key: str, model: str, version: int, at_us: int, units: str, charges: str,
        amount: Any, cost: Any, cost_currency: str, *, given: int,
    ) -> None:  # fmt: skip
        self.through = sequence
        place = (project, key, model, int(version), int(at_us) // _DAY_US)
        change = self.changes.setdefault(place, Change(int(at_us)))
        for name, count in orjson.loads(charges).items():
            change.charges[name] -= int(count)
        change.given -= given
        if kind == ENTRY:  # an earlier correction is taken back, and made again with all others
            return
        tariff = self.tariffs.get(model)
        if tariff is None:
            tariff = self.tariffs[model] = Tariff(self.cut.plan, self.cut.subscription, model)
        if int(cost) and not tariff.takes(cost_currency):
            raise BillingError(
                f"{self.cut.plan.id}: entry {sequence} cost us {cost_currency}, which no charge of it reads. Correct the plan."
            )
        rated = tariff.rate(self.new, {**orjson.loads(units), "provider_cost": int(cost)}, self.cut.period)
        for name, count in rated.charges.items():
            change.charges[name] += count
        if self.cut.period.trial:
            change.given += rated.amount
        elif given:  # the budget had no more than the rest: at another price neither, and what was given is not paid back
            change.given += max(rated.amount - max(int(amount) - given, 0), 0)
        for name, count in rated.counters.items():
            self.new[name] += count
            if sequence > self.after:
                self.unbilled[name] += count

    def counted(self) -> dict[tuple[str, str], int]:
        """What to add to counters, by (word, charge), so that they are as the corrected plan gives them."""
        found: dict[tuple[str, str], int] = {}
        charges = {name for word, name in self.counters if word in _WORDS} | {name.split("|", 3)[3] for name in self.new}
        for word in _WORDS:
            found |= {(word, name): self._new(word, name) - self.counters.get((word, name), 0) for name in charges}
        for word, of in (("corrected", "amount"), ("recounted", "quantity")):
            for name in charges:
                unbilled = self.unbilled.get(self._name(of, name), 0)
                wanted = self._new(of, name) - self.taken.get((of, name), 0) - unbilled if self.after else 0
                found[word, name] = wanted - self.counters.get((word, name), 0) + self.taken.get((word, name), 0)
        return {name: count for name, count in found.items() if count}

    def _new(self, word: str, charge: str) -> int:
        return self.new.get(self._name(word, charge), 0)

    def _name(self, word: str, charge: str) -> str:
        return counter(word, self.cut.subscription.id, self.cut.period.label, charge)

    def added(self) -> dict[str, int]:
        """The same by the counters' names, without the amounts, which the entries add. Errors: BillingError where they do not fit."""
        counted, sums = self.counted(), defaultdict[str, int](int)
        for change in self.changes.values():
            for name, amount in change.charges.items():
                sums[name] += amount
        booked = {name: count for (word, name), count in counted.items() if word == "amount"}
        if {name: amount for name, amount in sums.items() if amount} != booked:
            raise BillingError(f"{self.cut.name}: its counters are not what its requests came to. Run `lode audit verify`.")
        return {self._name(word, name): count for (word, name), count in counted.items() if word != "amount"}

    def acts(self, actor: str, credit: int) -> Iterable[tuple[Act, int]]:
        """The entries; and what each draws of prepaid credit, of which so much is left: not more than all of them come to."""
        held, period, plan = self.cut.subscription, self.cut.period, self.cut.plan
        owner, revenue = held.organisation, accounts.revenue(plan.currency)
        credit = min(credit, sum(change.owed for change in self.changes.values()))
        for place, change in sorted(self.changes.items()):
            charges = {name: amount for name, amount in sorted(change.charges.items()) if amount}
            if not charges and not change.given:
                continue
            amount, owed = sum(charges.values()), change.owed
            drawn = min(max(credit, 0), max(owed, 0))
            credit -= drawn
            project, key, model, version, _ = place
            used = Used(
                f"{self.was.id} corrected by {plan.id}", change.at_us, owner, project, key, model, version, 200, {}, amount, charges,
                plan.id, held.id, period.label, ENTRY,
            )  # fmt: skip
            moves = [
                (accounts.prepaid(owner), revenue, drawn), (accounts.accrued(owner), revenue, owed - drawn),
                (accounts.waived(plan.currency), revenue, change.given),
            ]  # fmt: skip
            counters = {self._name("amount", name): amount for name, amount in charges.items()}
            yield Act("usage.correct", actor, owner, transfers=moved(moves), used=used, counters=counters), drawn

    def row(self) -> dict[str, Any]:
        """Before, after and difference, without tax and coupons: usage, fees and true-ups of the whole period."""
        old = {name: amount for (_, name), amount in self.counters.items() if _ == "amount"}
        new = {name.split("|", 3)[3]: amount for name, amount in self.new.items() if name.startswith("amount|")}
        quantities = {name.split("|", 3)[3]: count for name, count in self.new.items() if name.startswith("quantity|")}
        was = {name: count for (word, name), count in self.counters.items() if word == "quantity"}
        before, after = _comes_to(replace(self.cut, plan=self.was), old, was), _comes_to(self.cut, new, quantities)
        zone = self.cut.subscription.zone
        amounts = {
            "before": sum(before.values()), "after": sum(after.values()), "difference": sum(after.values()) - sum(before.values()),
            "given_back": sum(self.given.values()), "remains": self._remains(before, after),
        }  # fmt: skip
        return {
            "customer": self.cut.subscription.organisation, "subscription": self.cut.subscription.id,
            "period": local_date(self.cut.period.start_us, zone).isoformat(), "state": "billed" if self.is_billed else "open",
            **{name: money.plain(amount) for name, amount in amounts.items()},
        }  # fmt: skip

    def _remains(self, before: Mapping[tuple[str, int], int], after: Mapping[tuple[str, int], int]) -> int:
        """What of the difference will be charged or given back: not what credit notes gave back of the same thing already."""
        remains = 0
        for name in {*before, *after}:
            (_, sign), was = name, before.get(name, 0)
            change = sign * (after.get(name, 0) - was)
            remains += sign * max(change, min(-sign * (was - self.given.get(name, 0)), 0))
        return remains


def _comes_to(cut: Cut, charges: Mapping[str, int], quantities: Mapping[str, int]) -> dict[tuple[str, int], int]:
    """What a period costs under a plan, by thing (its name, -1 for the cap); nothing in a trial."""
    found = defaultdict[tuple[str, int], int](int)
    if cut.period.trial:
        return found
    part = Part(cut.subscription.id, cut.period.label, Taken(charges=charges, quantities=quantities), Taken())
    for name, amount in charges.items():
        found[name, 1] += amount
    for line in (*terms.advance(cut), *terms.arrears(cut, part)):
        found[line.name, -1 if line.kind == "cap" else 1] += terms.whole(line.amount)
    return found


def preview(store: Store, wrong: str, right: str, since: str, reason: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """What `correct` would change, by customer and period; nothing is written. Errors: BillingError."""
    with store.view() as session:
        asked = corrections.read(session, wrong, right, since, reason)
        owners = _owners(session, asked)
        found = [(owner, rerated) for owner in owners for rerated in _of(session, owner, asked, now_us())[1]]
    return _told(asked, [rerated for _, rerated in found], applied=False)


def correct(
    store: Store, actor: str, wrong: str, right: str, since: str, reason: str, *, now_us: Callable[[], int]
) -> dict[str, Any]:
    """Let version `right` price what `wrong` did, in every period that begins on the day `since` or later; "" for all.

    Each customer is one transaction; the same command again does what is left, and nothing that is done. Errors: BillingError,
    ConflictError.
    """
    with store.view() as session:
        asked = corrections.read(session, wrong, right, since, reason)
        for owner in _owners(session, asked):  # before anything is written: whether all of it can be
            _of(session, owner, asked, now_us())
    store.transact(lambda session: _declare(session, actor, asked, now_us()))
    with store.view() as session:
        owners = _owners(session, asked)
    done = [rerated for owner in owners for rerated in _customer(store, actor, owner, asked, now_us)]
    return _told(asked, done, applied=True)


def _declare(session: Session, actor: str, asked: Correction, now: int) -> None:
    """From here on nobody new gets the wrong version."""
    found = journal.document(session, corrections.KIND, asked.wrong.id)
    if found is None or asked.since < found.body["since"]:
        journal.append(session, [Act("plan.correct", actor, documents=(asked.document(),))], now)


def _owners(session: Session, asked: Correction) -> list[str]:
    """Customers with a contract that the correction concerns and does not know yet."""
    found = [Subscription.of(item) for item in journal.documents(session, KIND)]
    return sorted({held.organisation for held in found if _corrected(held, asked) is not None})


def _corrected(held: Subscription, asked: Correction) -> Subscription | None:
    """The contract with the correction; None where it changes nothing."""
    of = asked.wrong.version
    has_it = of in (held.version, *(step["by"] for step in held.corrections))
    if held.plan != asked.wrong.name or not has_it:
        return None
    if any((step["of"], step["by"]) == (of, asked.right.version) and step["since"] <= asked.since for step in held.corrections):
        return None
    is_over = held.until_us is not None and (
        held.until_us <= held.since_us or local_date(held.until_us - 1, held.zone).isoformat() < asked.since
    )
    return None if is_over else replace(held, corrections=(*held.corrections, asked.step))


def _of(session: Session, owner: str, asked: Correction, now: int) -> tuple[list[Subscription], list[Rerated]]:
    """The contracts of a customer as they will be, and their periods, rated anew up to this moment of the books."""
    closed = {item.body["closes"] for item in journal.documents(session, INVOICE, owner)}
    billed = {cut.name for group in terms.groups(session, owner, now) if group.key in closed for cut in group.cuts}
    charged, held, found = returned.read(session, owner), [], []
    for before in subscriptions.all_of(session, owner):
        after = _corrected(before, asked)
        if after is None:
            continue
        held.append(after)
        counters = selection.counters_of(session, [after.id])
        for period in after.periods(now + 1):
            if after.version_at(period.start_us) == before.version_at(period.start_us):
                continue
            cut, was = terms.cut_of(session, after, period), terms.cut_of(session, before, period).plan
            _check_carried(cut, was)
            found.append(_begun(cut, was, cut.name in billed, counters))
            found[-1].given = charged.given_of(after.id, period.label, customers.shown_time(period.start_us))
            found[-1].read(session)
    return held, found


def _begun(cut: Cut, was: Plan, is_billed: bool, counters: Mapping[tuple[str, str, str], Mapping[str, int]]) -> Rerated:
    held = {
        word: counters.get((word, cut.subscription.id, cut.period.label), {})
        for word in (*_WORDS, *selection.COUNTED.values(), *(f"invoiced-{word}" for word in selection.COUNTED.values()), "invoiced")
    }
    known = {(word, name): count for word in (*_WORDS, "corrected", "recounted") for name, count in held[word].items()}
    taken = {(word, name): count for word in selection.COUNTED.values() for name, count in held[f"invoiced-{word}"].items()}
    return Rerated(cut, was, is_billed, known, taken, held["invoiced"].get("through", 0))


def _check_carried(cut: Cut, was: Plan) -> None:
    """Refuses other charges where a contract began with quantities of the one before: nobody knows what it would have carried."""
    old, new = ({item.name for item in plan.charges if item.charge.due == "usage"} for plan in (was, cut.plan))
    if cut.subscription.carried and cut.period.label == cut.subscription.first_label and old != new:
        raise BillingError(
            f"{cut.subscription.organisation}: found other charges in {cut.plan.id} than in {was.id}, "
            "allowed: the same names, "
            "because its tiers go on from another plan's. Keep them."
        )


def _customer(store: Store, actor: str, owner: str, asked: Correction, now_us: Callable[[], int]) -> list[Rerated]:
    """Rate without stopping the writer, then write with what came meanwhile."""
    for _ in range(_TRIES):
        with store.view() as session:
            held, found = _of(session, owner, asked, now_us())
        if store.transact(lambda session, held=held, found=found: _write(session, actor, asked, held, found, now_us())):  # type: ignore[misc]
            return found
    raise ConflictError(f"{owner}: its contracts or invoices change at the same time. Try again; customers before it are done.")


def _write(
    session: Session, actor: str, asked: Correction, held: Sequence[Subscription], found: Sequence[Rerated], now: int
) -> bool:  # fmt: skip
    """Book one customer's correction; False where its contracts, a period or an invoice changed since they were read."""
    if not held:
        return True
    owner = held[0].organisation
    now_held = [item for item in (_corrected(one, asked) for one in subscriptions.all_of(session, owner)) if item is not None]
    if now_held != list(held):
        return False
    counters = selection.counters_of(session, [item.id for item in held])
    for rerated in found:
        fresh = _begun(rerated.cut, rerated.was, rerated.is_billed, counters)
        if fresh.after != rerated.after:
            return False
        rerated.read(session)
        rerated.counters, rerated.taken = fresh.counters, fresh.taken
    begun = {(item.id, period.label) for item in held for period in item.periods(now + 1) if _is_new(item, period.start_us)}
    if begun != {(rerated.cut.subscription.id, rerated.cut.period.label) for rerated in found}:
        return False  # a period began meanwhile
    added = {name: count for rerated in found for name, count in rerated.added().items()}
    facts = {"from": asked.wrong.id, "to": asked.right.id, "since": asked.since, "reason": asked.reason}
    documents: tuple[Document, ...] = tuple(item.document() for item in held)
    acts = [Act("subscription.correct", actor, owner, documents=documents, counters=added, facts=facts)]
    wallet.expired(session, actor, owner, now, now)  # what is over pays for nothing
    credit = -journal.balance(session, accounts.prepaid(owner))
    for rerated in found:
        for act, drawn in rerated.acts(actor, credit):
            acts.append(act)
            credit -= drawn
    journal.append(session, acts, now)
    return True


def _is_new(item: Subscription, start_us: int) -> bool:
    """Whether the last of its corrections changes the version of the period that begins then."""
    return item.version_at(start_us) != replace(item, corrections=item.corrections[:-1]).version_at(start_us)


def _told(asked: Correction, found: Sequence[Rerated], *, applied: bool) -> dict[str, Any]:
    rows = sorted((rerated.row() for rerated in found), key=lambda row: (row["customer"], row["period"]))
    totals = {
        word: money.plain(sum(money.parse(row[word], word, least=None) for row in rows))
        for word in ("difference", "given_back", "remains")
    }
    return {
        "corrected": asked.wrong.id, "by": asked.right.id, "since": asked.since, "reason": asked.reason, "applied": applied,
        "currency": asked.wrong.currency, "periods": rows, **totals,
    }  # fmt: skip
