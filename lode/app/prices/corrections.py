"""A version of a plan whose price was wrong, and the later version that says what it should have been.

Neither changes, and no contract does: each of its periods that begins on the day or later is priced by the other version
(`Subscription.version_at`). What was used already is rated anew by `lode/app/invoices/rerating.py`.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Document, Session
from lode.app.prices import plans
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import Step, Subscription
from lode.core.errors import BillingError, ConflictError

KIND = plans.CORRECTION
_ID = re.compile(r"([a-z0-9][a-z0-9_-]{0,39})@([1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Correction:
    """`wrong` is priced by `right` in every period that begins on `since` (a day of the contract's zone, ISO 8601; "" for always)."""

    wrong: Plan
    right: Plan
    since: str
    reason: str

    @property
    def step(self) -> Step:
        """As subscriptions keep it."""
        return {"of": self.wrong.version, "by": self.right.version, "since": self.since}

    def document(self) -> Document:
        """As the books keep it: one for each version that was wrong."""
        return Document(KIND, self.wrong.id, "", {"by": self.right.id, "since": self.since, "reason": self.reason})


def read(session: Session, wrong: str, right: str, since: str, reason: str) -> Correction:
    """What a person asked for. wrong, right: `team@1`. Errors: BillingError, ConflictError where it was corrected by another one."""
    if since:
        _check_day(since)
    if not reason.strip():
        raise BillingError("reason: found none, wanted why; it stands in the journal. Add --reason TEXT.")
    old, new = (_found(session, text, where) for text, where in ((wrong, "PLAN"), (right, "with")))
    if new.name != old.name or new.version <= old.version:
        raise BillingError(
            f'with: found "{new.id}", allowed: a later version of {old.name}, which says what {old.id} should have. '
            "Add it: lode plans add FILE."
        )
    found = journal.document(session, KIND, old.id)
    if found is not None and found.body["by"] != new.id:
        raise ConflictError(
            f"plan {old.id}: it was corrected by {found.body['by']}, allowed: to correct that one. "
            f"lode plans correct {found.body['by']} --with {new.id}."
        )
    # where it is declared already, it may hold from an earlier day on, whatever corrects its correction
    if found is None and (right_one := newest(session, new)) != new:
        raise ConflictError(f"plan {new.id}: it was corrected by {right_one.id}, allowed: that. Take --with {right_one.id}.")
    _check_alike(old, new)
    return Correction(old, new, since, reason.strip())


def plan_of(session: Session, held: Subscription, start_us: int) -> Plan:
    """The version that prices a subscription's period that begins at a moment."""
    return plans.found(session, held.plan, held.version_at(start_us))


def newest(session: Session, plan: Plan) -> Plan:
    """The version by which a plan was corrected, if it was; else itself. What new customers get."""
    while (found := journal.document(session, KIND, plan.id)) is not None:
        plan = _found(session, found.body["by"], "correction")
    return plan


def check_new(session: Session, plan: Plan) -> None:
    """Refuses a version that was wrong to customers who do not have it yet. Errors: ConflictError."""
    if (right := newest(session, plan)) != plan:
        raise ConflictError(
            f"plan {plan.id}: its price was wrong, allowed: {right.id}, which corrects it. Take --version {right.version}."
        )


def _found(session: Session, text: str, where: str) -> Plan:
    match = _ID.fullmatch(text)
    if match is None:
        raise BillingError(f'{where}: found "{text[:60]}", wanted a plan with its version, like team@2. See `lode plans list`.')
    return plans.found(session, match[1], int(match[2]))


def _check_day(text: str) -> None:
    try:
        is_day = datetime.date.fromisoformat(text).isoformat() == text  # days are compared as text
    except ValueError:
        is_day = False
    if not is_day:
        raise BillingError(f'from: found "{text[:60]}", wanted the first day of a period, like 2026-10-01. Write it so.')


def _check_alike(old: Plan, new: Plan) -> None:
    """What a correction may not touch: periods, currency, packs that were sold, what a charge of a name counts."""
    for name in ("period", "currency"):
        if getattr(old, name) != getattr(new, name):
            raise BillingError(
                f"{new.id}: found {name} {getattr(new, name)}, allowed: {getattr(old, name)}, as in {old.id}: a correction changes prices. "
                "For the rest: lode plans change CUSTOMER PLAN."
            )
    if _packs(old) != _packs(new):
        raise BillingError(
            f"{new.id}: found other packs of prepaid credit than in {old.id}, allowed: the same: they are sold and used. "
            "Give a pack back with a credit note: lode credit note."
        )
    if any(old.taxes.get(name) != new.taxes.get(name) for name in _names(old) & _names(new)):
        raise BillingError(
            f"{new.id}: found another tax category than in {old.id}, allowed: the same: tax that was invoiced is not changed by a price. "
            "Credit the invoices, and change the plan: lode plans change CUSTOMER PLAN."
        )
    units = {item.name: item.charge.units for item in old.charges}
    for item in new.charges:
        if units.get(item.name, item.charge.units) != item.charge.units:
            raise BillingError(
                f'{new.id}: charge "{item.name}": found {", ".join(item.charge.units)}, allowed: {", ".join(units[item.name])}, which it '
                "counts so far. Give it another name."
            )


def _names(plan: Plan) -> set[str]:
    return {fee.name for fee in plan.fees} | {item.name for item in plan.charges}


def _packs(plan: Plan) -> list[dict[str, Any]]:
    return [item for item in plan.record["charges"] if item["type"] == "prepaid"]
