"""Subscribing, changing and cancelling, as acts in the books; and what holds for an organisation at a moment.

Plain functions with all checks inside: the command line and the admin API call the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib import metadata
from typing import Any, Literal

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.prices import corrections, coupons, plans
from lode.app.prices.periods import Period, Unit, local_date, moment, zone_of
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import KIND, Subscription
from lode.app.prices.tariff import Tariff, counter, parts
from lode.core.errors import BillingError, ConflictError, NotFoundError, near_miss

Clock = Callable[[], int]
When = Literal["auto", "now", "period_end"]

_DAY_US = 86_400_000_000
_PER_YEAR: Mapping[Unit, Fraction] = {"day": Fraction(365), "week": Fraction(365, 7), "month": Fraction(12), "year": Fraction(1)}
_LATEST_US = 32_503_680_000_000_000  # the year 3000


def all_of(session: Session, organisation: str) -> list[Subscription]:
    """Every subscription that an organisation ever had, oldest first; those that ended before they began are left out."""
    found = [Subscription.of(item) for item in journal.documents(session, KIND, organisation)]
    held = [item for item in found if item.until_us is None or item.until_us > item.since_us]
    return sorted(held, key=lambda item: item.since_us)


def subscription_at(session: Session, organisation: str, at_us: int) -> Subscription | None:
    """The one that holds at a moment; None where there is none."""
    return next((item for item in all_of(session, organisation) if item.covers(at_us)), None)


def tariff_at(session: Session, organisation: str, model: str, at_us: int) -> Tariff | None:
    """What an organisation's use of a model costs at a moment; None where it has no subscription."""
    subscription = subscription_at(session, organisation, at_us)
    if subscription is None:
        return None
    period = subscription.period(at_us)
    plan = corrections.plan_of(session, subscription, period.start_us)
    return Tariff(plan, subscription, model, period if subscription.corrections else None)


def subscribe(
    store: Store,
    actor: str,
    organisation: str,
    plan: str,
    *,
    version: int | None = None,
    zone: str | None = None,
    since_us: int | None = None,
    trial_days: int | None = None,
    coupon: str = "",
    now_us: Clock,
) -> dict[str, Any]:
    """A first subscription, or one after the last has ended.

    version: the newest where it is None. zone: the organisation's where it is None. since_us: now where it is None; may lie ahead.
    trial_days: the plan's where it is None. Errors: BillingError for what does not exist, ConflictError where one holds already.
    """

    def work(session: Session) -> dict[str, Any]:
        customer = _customer(session, organisation)
        chosen = plans.found(session, plan, version)
        corrections.check_new(session, chosen)
        now = now_us()
        start_us = _start(since_us, now)
        _free_from(session, organisation, start_us)
        made = begun(chosen, organisation, zone or str(customer.get("zone", "UTC")), start_us, trial_days)
        _same_currency(customer, chosen, organisation)
        if coupon:
            made = replace(made, coupons=(coupons.redeemed(session, coupon, made, now),))
        journal.append(session, [Act("subscription.create", actor, organisation, documents=(made.document(),))], now)
        return shown(made)

    return store.transact(work)


def change(
    store: Store,
    actor: str,
    organisation: str,
    plan: str,
    *,
    version: int | None = None,
    when: When = "auto",
    now_us: Clock,
) -> dict[str, Any]:
    """Another plan, or another version of the same.

    when: "now" cuts the period at this instant; "period_end" waits; "auto" waits only where the new plan's fees are lower. A change that
    waits already is replaced; by the plan that holds: dropped, and nothing is cut. Errors: BillingError, ConflictError.
    """
    _one_of(when, ("auto", "now", "period_end"), "when")

    def work(session: Session) -> dict[str, Any]:
        customer = _customer(session, organisation)
        now = now_us()
        held = _held(session, organisation, now)
        chosen = plans.found(session, plan, version)
        if not _has(held, chosen, now):  # the plan that it has drops a change that waits
            corrections.check_new(session, chosen)
        _same_currency(customer, chosen, organisation)
        waiting = _waiting(session, organisation, now)
        if _has(held, chosen, now) and not waiting:
            raise ConflictError(
                f"{organisation}: found {chosen.id} already, allowed: another plan or version. See `lode plans list`."
            )
        old, new = _cut(session, held, chosen, when, now)
        documents = (old.document(), new.document(), *(_undone(item).document() for item in waiting))
        facts = {"from": f"{held.plan}@{held.version}", "to": chosen.id}
        journal.append(session, [Act("subscription.change", actor, organisation, documents=documents, facts=facts)], now)
        return shown(new)

    return store.transact(work)


def cancel(
    store: Store, actor: str, organisation: str, *, when: When = "period_end", reason: str = "", now_us: Clock
) -> dict[str, Any]:
    """End the subscription, by default when its period ends. Changes that wait are dropped, and so is one that has not begun yet.

    Errors: BillingError.
    """
    _one_of(when, ("auto", "now", "period_end"), "when")

    def work(session: Session) -> dict[str, Any]:
        _customer(session, organisation)
        now = now_us()
        waiting = [_undone(item) for item in _waiting(session, organisation, now)]
        if waiting and subscription_at(session, organisation, now) is None:
            old = waiting.pop()  # only one that has not begun: nothing of it will ever have held
        else:
            held = _held(session, organisation, now)
            # A subscription that ends in the instant in which it began would never have been.
            old = replace(held, until_us=max(now, held.since_us + 1) if when == "now" else held.planned(now).end_us)
        documents = (old.document(), *(item.document() for item in waiting))
        facts = {"reason": reason} if reason else {}
        journal.append(session, [Act("subscription.cancel", actor, organisation, documents=documents, facts=facts)], now)
        return shown(old)

    return store.transact(work)


def listed(store: Store, organisation: str) -> dict[str, Any]:
    """What an organisation has, had and will have. Errors: BillingError where there is no such organisation."""
    with store.view() as session:
        _customer(session, organisation, closed=True)
        return {"subscriptions": [shown(item) for item in all_of(session, organisation)]}


def default_documents(session: Session, organisation: str, currency: str, zone: str, now_us: int) -> tuple[Document, ...]:
    """The subscription that a new organisation begins with: to the default plan, if there is one and its currency fits."""
    chosen = plans.default(session)
    chosen = corrections.newest(session, chosen) if chosen is not None else None
    if chosen is None or chosen.currency != currency:
        return ()
    return (begun(chosen, organisation, zone, now_us, None).document(),)


def begun(plan: Plan, organisation: str, zone: str, since_us: int, trial_days: int | None) -> Subscription:
    """A new subscription, in no books yet. The anchor is the plan's, else the first day that is paid. Errors: BillingError."""
    zone_of(zone)
    days = plan.trial_days if trial_days is None else trial_days
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 3650:
        raise BillingError(f"trial_days: found {str(days)[:40]}, allowed: a whole number from 0 to 3650. Correct it.")
    trial_until_us = since_us + days * _DAY_US if days else 0
    began_us = max(since_us, trial_until_us)
    day, month = _anchor(plan, began_us, zone)
    return Subscription(
        id=f"sub_{secrets.token_hex(8)}", organisation=organisation, plan=plan.name, version=plan.version, currency=plan.currency,
        since_us=since_us, zone=zone, unit=plan.period, anchor_day=day, anchor_month=month, trial_until_us=trial_until_us,
        began_us=began_us, tzdata=_tzdata(),
    )  # fmt: skip


def shown(item: Subscription) -> dict[str, Any]:
    """For JSON and for people."""
    return {
        "subscription": item.id,
        "organisation": item.organisation,
        "plan": item.plan,
        "version": item.version,
        "currency": item.currency,
        "zone": item.zone,
        "since": _time(item.since_us),
        "until": None if item.until_us is None else _time(item.until_us),
        "trial_until": _time(item.trial_until_us) if item.trial_until_us else None,
        "coupons": [entry["coupon"] for entry in item.coupons],
        "corrections": [dict(step) for step in item.corrections],
    }


def _cut(session: Session, held: Subscription, chosen: Plan, when: When, now: int) -> tuple[Subscription, Subscription]:
    """The subscription that holds as a change leaves it, and the one that follows; the same twice where it stays as it is."""
    if _has(held, chosen, now):
        return (stays := replace(held, until_us=None)), stays
    at_us = _when(session, held, chosen, when, now)
    old = replace(held, until_us=at_us)
    return old, _changed(session, old, chosen, at_us)


def _has(held: Subscription, chosen: Plan, now: int) -> bool:
    """Whether a contract is to this plan, or priced by it because its own was corrected."""
    return held.plan == chosen.name and chosen.version in held.versions_at(held.period(now).start_us)


def _changed(session: Session, old: Subscription, plan: Plan, at_us: int) -> Subscription:
    """What follows `old` at an instant: same zone, same anchor where the period's length stays, tiers carried where the plan says so."""
    new = begun(plan, old.organisation, old.zone, at_us, 0)
    trial_until_us = old.trial_until_us if old.trial_until_us > at_us else 0
    began_us = max(at_us, trial_until_us)
    anchor = _anchor(plan, began_us, old.zone)
    if _keeps_days(plan, old, anchor):
        anchor, began_us = (old.anchor_day, old.anchor_month), old.began_us
    new = replace(
        new, trial_until_us=trial_until_us, began_us=began_us, anchor_day=anchor[0], anchor_month=anchor[1], previous=old.id,
        coupons=old.coupons,
    )  # fmt: skip
    if plan.counters == "carry" and at_us > old.since_us:
        last = old.period(at_us - 1)
        if last.whole_end_us > at_us and last.trial == (at_us < trial_until_us):
            new = replace(new, carried=_carried(session, old, last, plan))
    return new


def _keeps_days(plan: Plan, old: Subscription, anchor: tuple[int, int]) -> bool:
    """Whether periods go on beginning on the days on which they do."""
    if plan.period != old.unit:
        return False
    same = anchor == (old.anchor_day, old.anchor_month) if plan.period == "year" else anchor[0] == old.anchor_day
    return same or not plan.anchor


def _carried(session: Session, old: Subscription, last: Period, plan: Plan) -> dict[str, int]:
    """Quantities of the period that is cut, of charges that count the same under the same name in the new plan."""
    counted = {item.name: item.charge.units for item in corrections.plan_of(session, old, last.start_us).charges}
    same = [item for item in plan.charges if item.charge.due == "usage" and counted.get(item.name) == item.charge.units]
    wanted = [part for item in same for part in parts(item.name, item.charge.units)]
    names = {part: counter("quantity", old.id, last.label, part) for part in wanted}
    counts = journal.counter(session, list(names.values()))
    before = old.carried if last.label == old.first_label else {}
    found = {part: counts[name] + before.get(part, 0) for part, name in names.items()}
    return {part: count for part, count in found.items() if count}


def _when(session: Session, held: Subscription, chosen: Plan, when: When, now: int) -> int:
    """When a change takes place. One at the instant in which the old one began waits a microsecond, so that both were."""
    if when == "auto":
        old = corrections.plan_of(session, held, held.period(now).start_us)
        when = "now" if _yearly(chosen) >= _yearly(old) else "period_end"
    if when == "now":
        return max(now, held.since_us + 1)
    return held.planned(now).end_us


def _yearly(plan: Plan) -> Fraction:
    """Flat fees of a year."""
    return sum(fee.amount for fee in plan.fees) * _PER_YEAR[plan.period]


def _anchor(plan: Plan, first_us: int, zone: str) -> tuple[int, int]:
    """(day, month) on which periods begin."""
    if plan.anchor:
        month, _, day = plan.anchor.rpartition("-")
        return int(day), int(month or 1)
    first = local_date(first_us, zone)
    return (first.isoweekday() if plan.period == "week" else first.day), first.month


def _customer(session: Session, organisation: str, closed: bool = False) -> Mapping[str, Any]:
    """The organisation's document. closed: whether it may be. Errors: BillingError where there is none."""
    found = journal.document(session, "organisation", organisation)
    if found is None:
        known = [item.id for item in journal.documents(session, "organisation")]
        near = near_miss(organisation, known)
        raise NotFoundError(f'organisation: found "{organisation[:60]}", which does not exist.{near} See `lode customers list`.')
    if found.body.get("status") == "closed" and not closed:
        raise ConflictError(f"organisation: {organisation} is closed, allowed: one that is not. Add another.")
    return found.body


def _same_currency(customer: Mapping[str, Any], plan: Plan, organisation: str) -> None:
    if customer.get("currency", plan.currency) != plan.currency:
        raise BillingError(
            f"{organisation}: found a plan in {plan.currency}, allowed: one in {customer['currency']}, in which its books are kept. "
            "Write a plan in that currency."
        )


def _start(since_us: int | None, now: int) -> int:
    start_us = now if since_us is None else since_us
    if not now <= start_us < _LATEST_US:
        raise BillingError(
            f"since: found {_time(start_us)}, allowed: now or later, because what was used is billed already. Correct it."
        )
    return start_us


def _free_from(session: Session, organisation: str, start_us: int) -> None:
    """Errors: ConflictError where a subscription holds at `start_us` or later."""
    for item in all_of(session, organisation):
        if item.until_us is None or item.until_us > start_us:
            found = f"{item.plan}@{item.version}, which holds from {_time(item.since_us)} on"
            raise ConflictError(f"{organisation}: found {found}, allowed: one subscription at a time. Use `lode plans change`.")


def _held(session: Session, organisation: str, now: int) -> Subscription:
    held = subscription_at(session, organisation, now)
    if held is None:
        later = _waiting(session, organisation, now)
        if later:
            found = f"{later[0].plan}@{later[0].version}, which begins at {_time(later[0].since_us)}"
            raise BillingError(f"{organisation}: found {found}, allowed: one that holds now. `lode plans cancel` takes it back.")
        raise BillingError(f"{organisation}: found no subscription, allowed: one that holds. Use `lode plans subscribe`.")
    return held


def _waiting(session: Session, organisation: str, now: int) -> list[Subscription]:
    return [item for item in all_of(session, organisation) if item.since_us > now]


def _undone(item: Subscription) -> Subscription:
    """One that will never hold."""
    return replace(item, until_us=item.since_us)


def _time(at_us: int) -> str:
    return moment(at_us).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tzdata() -> str:
    """Version of the package with the time zones; "system" where the system's are used."""
    try:
        return metadata.version("tzdata")
    except metadata.PackageNotFoundError:
        return "system"


def _one_of(word: str, allowed: Sequence[str], where: str) -> None:
    if word not in allowed:
        raise BillingError(
            f'{where}: found "{str(word)[:60]}", allowed: {", ".join(allowed)}.{near_miss(str(word), allowed)} Choose one.'
        )
