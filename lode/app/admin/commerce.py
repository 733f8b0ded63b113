"""Operations on prices, contracts, invoices and prepaid credit. Invoices of a path belong to its organisation, or do not exist."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lode.app.access import checks
from lode.app.admin.contracts import Body, Call, Operation, given
from lode.app.books import journal
from lode.app.invoices import closing, notes, overview, payments, replacing, rerating, wallet
from lode.app.invoices.documents import CREDIT_NOTE, INVOICE
from lode.app.prices import corrections, coupons, estimate, plans, subscriptions
from lode.core.errors import BillingError, NotFoundError


class NewPlan(Body):
    """plan: the keys of a plan's file."""

    plan: dict[str, Any]


class PlanNamed(Body):
    """A plan; its newest version where none is named."""

    plan: str
    version: int | None = None


class NewCorrection(Body):
    """by: the later version that says what it should be, such as team@2. since: periods that begin then or later; all where left out.

    preview: only say what would change.
    """

    by: str
    reason: str
    since: str = ""
    preview: bool = False


class Units(Body):
    """units: what is used, such as {"rows": 250000}; sums of money as decimal text."""

    units: dict[str, int | str]
    model: str = "any"
    version: int | None = None


class NewSubscription(Body):
    """since: now where it is left out. trial_days: the plan's where it is left out."""

    plan: str
    version: int | None = None
    zone: str | None = None
    since: str | None = None
    trial_days: int | None = None
    coupon: str = ""


class PlanChange(Body):
    """auto: now, but at the period's end where the fees are lower."""

    plan: str
    version: int | None = None
    when: Literal["auto", "now", "period_end"] = "auto"


class Cancelling(Body):
    """When it ends."""

    when: Literal["now", "period_end"] = "period_end"
    reason: str = ""


class NewCoupon(Body):
    """percent or amount off each bill. periods: 1 for once."""

    code: str
    percent: str | None = None
    amount: str | None = None
    currency: str = ""
    periods: int | None = None
    until: str | None = None


class Billing(Body):
    """period: up to the one that begins then. interim: also what was used so far of the running one."""

    period: str = ""
    grace_days: int = closing.GRACE_DAYS
    interim: bool = False


class BillingAll(Body):
    """As for one customer."""

    grace_days: int = closing.GRACE_DAYS
    interim: bool = False


class NewNote(Body):
    """line: its number on the invoice. to: balance, or cash where it was paid. reference: the same again is the same note."""

    line: int
    amount: str
    reason: str
    to: Literal["balance", "cash"] = "balance"
    reference: str = ""


class Voiding(Body):
    """reason: stands on the credit note. An invoice is voided once: the same again is the same note."""

    reason: str
    to: Literal["balance", "cash"] = "balance"


class Payment(Body):
    """amount: all that is open where it is left out. reference: of the bank; the same again is the same payment.

    from_balance: no money came, what credit notes left is used.
    """

    amount: str = ""
    reference: str = ""
    from_balance: bool = False


class TopUp(Body):
    """expires: never where it is left out. reference: of the payment; the same again is the same top-up."""

    amount: str
    expires: str | UnsetType = UNSET
    priority: int = 100
    reference: str = ""
    reason: str = ""


class Refund(Body):
    """grant: the one used last where it is left out. from_balance: of what credit notes and corrections left instead, grant left out.

    reference: the same again is the same refund.
    """

    amount: str
    reason: str
    grant: str = ""
    reference: str = ""
    from_balance: bool = False


def _plans(call: Call) -> dict[str, Any]:
    return call.page.of(plans.listed(call.platform.store), "plans", lambda row: (row["plan"], row["version"]))


def _plan(call: Call) -> dict[str, Any]:
    return plans.show(call.platform.store, call.path["plan"], call.optional_number("version"))


def _add_plan(call: Call) -> dict[str, Any]:
    return plans.add_record(call.platform.store, call.actor, call.body.plan, now_us=call.platform.now_us)


def _default_plan(call: Call) -> dict[str, Any]:
    return plans.set_default(call.platform.store, call.actor, call.body.plan, call.body.version, now_us=call.platform.now_us)


def _correct(call: Call) -> dict[str, Any]:
    body, platform = call.body, call.platform
    asked = (call.path["plan"], body.by, body.since, body.reason)
    if body.preview:
        return rerating.preview(platform.store, *asked, now_us=platform.now_us)
    return rerating.correct(platform.store, call.actor, *asked, now_us=platform.now_us)


def _estimate(call: Call) -> dict[str, Any]:
    body = call.body
    with call.platform.store.view() as session:
        chosen = plans.found(session, call.path["plan"], body.version)
    return estimate.estimate(chosen, body.units, body.model)


def _coupons(call: Call) -> dict[str, Any]:
    return call.page.of(coupons.listed(call.platform.store, call.page.span), "coupons", lambda row: (row["coupon"],))


def _add_coupon(call: Call) -> dict[str, Any]:
    body, now_us = call.body, call.platform.now_us
    return coupons.add(
        call.platform.store, call.actor, body.code, percent=body.percent, amount=body.amount, currency=body.currency,
        periods=body.periods, until_us=checks.instant_us(body.until, "until", now_us()), now_us=now_us,
    )  # fmt: skip


def _subscriptions(call: Call) -> dict[str, Any]:
    found = subscriptions.listed(call.platform.store, call.organisation)
    return call.page.of(found, "subscriptions", lambda row: (row["since"], row["subscription"]))


def _held_plan(call: Call) -> dict[str, Any]:
    with call.platform.store.view() as session:
        now = call.platform.now_us()
        held = subscriptions.subscription_at(session, call.organisation, now)
        if held is None:
            raise NotFoundError(f"{call.organisation}: found no subscription that holds now.")
        return plans.shown(corrections.plan_of(session, held, held.period(now).start_us))


def _subscribe(call: Call) -> dict[str, Any]:
    body, now_us = call.body, call.platform.now_us
    return subscriptions.subscribe(
        call.platform.store, call.actor, call.organisation, body.plan, version=body.version, zone=body.zone,
        since_us=checks.instant_us(body.since, "since", now_us()), trial_days=body.trial_days, coupon=body.coupon, now_us=now_us,
    )  # fmt: skip


def _change_plan(call: Call) -> dict[str, Any]:
    body = call.body
    return subscriptions.change(
        call.platform.store, call.actor, call.organisation, body.plan, version=body.version, when=body.when,
        now_us=call.platform.now_us,
    )  # fmt: skip


def _cancel(call: Call) -> dict[str, Any]:
    return subscriptions.cancel(
        call.platform.store, call.actor, call.organisation, when=call.body.when, reason=call.body.reason,
        now_us=call.platform.now_us,
    )  # fmt: skip


def _draft(call: Call) -> dict[str, Any]:
    platform = call.platform
    period = call.query.get("period", "")
    return closing.draft(platform.store, call.organisation, call.seller(), now_us=platform.now_us, period=period)


def _bill(call: Call) -> dict[str, Any]:
    platform = call.platform
    seller = call.seller()
    expired = wallet.expire(platform.store, call.actor, now_us=platform.now_us)
    found = closing.bill(
        platform.store, call.actor, call.organisation, seller, now_us=platform.now_us, **msgspec.structs.asdict(call.body)
    )
    return {**found, "expired": [row for row in expired if row["organisation"] == call.organisation]}


def _bill_all(call: Call) -> dict[str, Any]:
    platform, body = call.platform, call.body
    seller = call.seller()
    expired = wallet.expire(platform.store, call.actor, now_us=platform.now_us)
    found = closing.bill_all(
        platform.store, call.actor, seller, now_us=platform.now_us, grace_days=body.grace_days, interim=body.interim
    )
    return {"customers": found, "expired": expired}


def _all_invoices(call: Call) -> dict[str, Any]:
    return call.page.of(overview.listed(call.platform.store, "", call.page.span), "invoices", _by_number)


def _invoices(call: Call) -> dict[str, Any]:
    return call.page.of(overview.listed(call.platform.store, call.organisation, call.page.span), "invoices", _by_number)


def _by_number(row: dict[str, Any]) -> tuple[str]:
    return (row["number"],)


def own_number(call: Call, *kinds: str) -> str:
    """The number of the path, if it is this organisation's. Errors: NotFoundError, also where it is another's: the same words."""
    number = call.path["invoice"]
    with call.platform.store.view() as session:
        found = [journal.document(session, kind, number) for kind in kinds]
    if not any(document is not None and document.organisation == call.organisation for document in found):
        raise NotFoundError(f"invoice: found {checks.quoted(number)}, which was never issued to {call.organisation}.")
    return number


def _invoice(call: Call) -> dict[str, Any]:
    return overview.show(call.platform.store, own_number(call, INVOICE, CREDIT_NOTE))


def _note(call: Call) -> dict[str, Any]:
    body, platform, number = call.body, call.platform, own_number(call, INVOICE)
    return notes.note(
        platform.store, call.actor, call.seller(), number, body.line, body.amount, body.reason, now_us=platform.now_us, to=body.to,
        reference=body.reference,
    )  # fmt: skip


def _void(call: Call) -> dict[str, Any]:
    body, platform, number = call.body, call.platform, own_number(call, INVOICE)
    return notes.void(platform.store, call.actor, call.seller(), number, body.reason, now_us=platform.now_us, to=body.to)


def _replace(call: Call) -> dict[str, Any]:
    platform, number = call.platform, own_number(call, INVOICE)
    return replacing.replace(platform.store, call.actor, call.seller(), number, now_us=platform.now_us)


def _pay(call: Call) -> dict[str, Any]:
    body, platform, number = call.body, call.platform, own_number(call, INVOICE)
    return payments.pay(
        platform.store,
        call.actor,
        number,
        body.amount,
        now_us=platform.now_us,
        reference=body.reference,
        from_balance=body.from_balance,
    )


def _credit(call: Call) -> dict[str, Any]:
    return call.page.of(wallet.listed(call.platform.store, call.organisation), "grants", _order_of_use)


def _order_of_use(row: dict[str, Any]) -> tuple[int | str, ...]:
    expires_us = row["expires_us"]
    return row["priority"], 2**63 - 1 if expires_us is None else expires_us, row["created_us"], row["grant"]


def _put_in(call: Call, is_given: bool) -> dict[str, Any]:
    body, now_us = call.body, call.platform.now_us
    return wallet.add(
        call.platform.store, call.actor, call.organisation, body.amount, now_us=now_us,
        expires_us=checks.instant_us(given(body).get("expires"), "expires", now_us()), priority=body.priority,
        reference=body.reference, reason=body.reason, given=is_given,
    )  # fmt: skip


def _top_up(call: Call) -> dict[str, Any]:
    return _put_in(call, False)


def _goodwill(call: Call) -> dict[str, Any]:
    return _put_in(call, True)


def _refund(call: Call) -> dict[str, Any]:
    body = call.body
    if body.from_balance:
        if body.grant:
            raise BillingError("grant: found one with from_balance, allowed: one of them. Leave one out.")
        return payments.pay_out(
            call.platform.store, call.actor, call.organisation, body.amount, body.reason, now_us=call.platform.now_us,
            reference=body.reference,
        )  # fmt: skip
    return wallet.refund(
        call.platform.store, call.actor, call.organisation, body.amount, body.reason, now_us=call.platform.now_us, grant=body.grant,
        reference=body.reference,
    )  # fmt: skip


def _expire(call: Call) -> dict[str, Any]:
    return {"expired": wallet.expire(call.platform.store, call.actor, now_us=call.platform.now_us)}


_ONE = "/organisations/{organisation}"
_PRICES, _BILLS, _CREDIT = "Prices", "Invoices", "Credit"
_VERSION = {"version": "The newest where it is left out"}
_PERIOD = {"period": "Its start: 2026-11 or 2026-11-15"}

OPERATIONS = (
    Operation("GET", "/plans", "plan.read", "Every version of every plan", _plans, _PRICES, items="plans"),
    Operation("POST", "/plans", "plan.create", "Register a version, which never changes again", _add_plan, _PRICES, NewPlan, status=201),
    Operation("GET", "/plans/{plan}", "plan.read", "One version, whole", _plan, _PRICES, query=_VERSION),
    Operation("POST", "/plans/default", "plan.change", "The plan that new customers begin with", _default_plan, _PRICES, PlanNamed),
    Operation("POST", "/plans/{plan}/estimate", "price.read", "What some usage would cost in one period", _estimate, _PRICES, Units),
    Operation("POST", "/plans/{plan}/correct", "plan.correct", "A price was wrong: rate what was used anew", _correct, _PRICES,
              NewCorrection, slow=True),
    Operation("GET", "/coupons", "price.read", "All coupons", _coupons, _PRICES, items="coupons"),
    Operation("POST", "/coupons", "price.change", "A new coupon", _add_coupon, _PRICES, NewCoupon, status=201),
    Operation("GET", f"{_ONE}/plan", "plan.read", "The plan that holds now, whole", _held_plan, _PRICES),
    Operation("GET", f"{_ONE}/subscriptions", "subscription.read", "What it has and had", _subscriptions, _PRICES, items="subscriptions"),
    Operation("POST", f"{_ONE}/subscriptions", "subscription.change", "Give it a plan", _subscribe, _PRICES, NewSubscription, status=201),
    Operation("POST", f"{_ONE}/subscriptions/change", "subscription.change", "Another plan or version", _change_plan, _PRICES, PlanChange),
    Operation("POST", f"{_ONE}/subscriptions/cancel", "subscription.change", "End it", _cancel, _PRICES, Cancelling),
    Operation("GET", "/invoices", "invoice.read", "Every invoice, and what is open of each", _all_invoices, _BILLS, items="invoices"),
    Operation("POST", "/bill", "invoice.issue", "Issue what is due of every customer", _bill_all, _BILLS, BillingAll,
              slow=True),
    Operation("GET", f"{_ONE}/draft", "invoice.read", "The next one if its period ended now", _draft, _BILLS, query=_PERIOD),
    Operation("POST", f"{_ONE}/bill", "invoice.issue", "Issue what is due, oldest period first", _bill, _BILLS, Billing),
    Operation("GET", f"{_ONE}/invoices", "invoice.read", "Its invoices, and what is open of each", _invoices, _BILLS, items="invoices"),
    Operation("GET", f"{_ONE}/invoices/{{invoice}}", "invoice.read", "An invoice or a credit note, whole", _invoice, _BILLS),
    Operation("POST", f"{_ONE}/invoices/{{invoice}}/notes", "invoice.change", "Credit part of a line", _note, _BILLS, NewNote, status=201),
    Operation("POST", f"{_ONE}/invoices/{{invoice}}/void", "invoice.change", "Credit all of it", _void, _BILLS, Voiding, status=201),
    Operation("POST", f"{_ONE}/invoices/{{invoice}}/replace", "invoice.issue", "Write a voided one anew", _replace, _BILLS, status=201),
    Operation("POST", f"{_ONE}/invoices/{{invoice}}/payments", "invoice.change", "Book a payment", _pay, _BILLS, Payment, status=201),
    Operation("GET", f"{_ONE}/credit", "credit.read", "What is left of prepaid credit", _credit, _CREDIT, items="grants"),
    Operation("POST", f"{_ONE}/credit", "credit.change", "Prepaid credit that was paid for", _top_up, _CREDIT, TopUp, status=201),
    Operation("POST", f"{_ONE}/credit/goodwill", "credit.change", "Credit that is given away", _goodwill, _CREDIT, TopUp, status=201),
    Operation("POST", f"{_ONE}/credit/refund", "credit.change", "Pay back credit or what is kept", _refund, _CREDIT, Refund, status=201),
    Operation("POST", "/credit/expire", "credit.change", "Book credit whose time is over", _expire, _CREDIT),
)  # fmt: skip
