"""Coupons: so many per cent, or an amount, off the bill; once or for some periods. Documents of the books, never changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.pages import ALL, Span
from lode.app.prices.periods import Period, moment
from lode.app.prices.subscription import Subscription
from lode.core import money
from lode.core.errors import BillingError, ConflictError, NotFoundError, near_miss

KIND = "coupon"
_CODE = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Coupon:
    """code: what a customer types. percent: share of the bill as a fraction, 0 where `amount` is given, in 10^-12 units per period.

    periods: for how many billing periods; None for all. until_us: may be redeemed before that, None for always.
    """

    code: str
    currency: str
    percent: Fraction
    amount: int
    periods: int | None
    until_us: int | None

    @classmethod
    def of(cls, document: Document) -> Coupon:
        """As the books hold it."""
        body = document.body
        percent = Fraction(Decimal(body["percent"])) / 100
        return cls(document.id, body["currency"], percent, money.parse(body["amount"], "coupon"), body["periods"], body["until_us"])


def add(
    store: Store,
    actor: str,
    code: str,
    *,
    percent: str | None = None,
    amount: str | None = None,
    currency: str = "",
    periods: int | None = None,
    until_us: int | None = None,
    now_us: Callable[[], int],
) -> dict[str, Any]:
    """A new coupon. percent: "20" for 20 %. amount: off each period's bill, in `currency`. periods: 1 for once, None for all.

    Errors: BillingError for values that are not allowed, ConflictError where the code was ever used.
    """
    body = _body(code, percent, amount, currency, periods, until_us, now_us())

    def work(session: Session) -> dict[str, Any]:
        if journal.document(session, KIND, code) is not None:
            raise ConflictError(f'coupon: found "{code}", which exists already. Choose another code.')
        journal.append(session, [Act("coupon.add", actor, documents=(Document(KIND, code, "", body),))], now_us())
        return {"coupon": code, **body}

    return store.transact(work)


def found(session: Session, code: str) -> Coupon:
    """Errors: NotFoundError where there is none."""
    document = journal.document(session, KIND, code)
    if document is None:
        known = [item.id for item in journal.documents(session, KIND)]
        raise NotFoundError(f'coupon: found "{code[:60]}", which does not exist.{near_miss(code.upper(), known)} Correct it.')
    return Coupon.of(document)


def listed(store: Store, span: Span = ALL) -> dict[str, Any]:
    """Coupons by code."""
    with store.view() as session:
        return {"coupons": [{"coupon": item.id, **item.body} for item in pages.documents(session, KIND, span=span)]}


def redeemed(session: Session, code: str, subscription: Subscription, now_us: int) -> dict[str, Any]:
    """What a subscription notes of a coupon. Errors: BillingError where it has expired, has another currency, or was used before."""
    coupon = found(session, code)
    if coupon.until_us is not None and now_us >= coupon.until_us:
        raise BillingError(f"coupon: found {code}, which ended on {moment(coupon.until_us):%Y-%m-%d}. Leave it out.")
    if coupon.amount and coupon.currency != subscription.currency:
        raise BillingError(f"coupon: found {code} in {coupon.currency}, allowed: one in {subscription.currency}. Choose another.")
    for item in journal.documents(session, "subscription", subscription.organisation):
        if code in (entry["coupon"] for entry in item.body["coupons"]):
            raise ConflictError(f"coupon: found {code}, which {subscription.organisation} has used, allowed: once. Choose another.")
    return {"coupon": code, "since_us": subscription.trial_until_us or subscription.since_us}


def discount(coupon: Coupon, total: int) -> int:
    """What is taken off a bill of `total`, 10^-12 units, rounded down to one of them; never more than it."""
    if total <= 0:
        return 0
    return min(total, coupon.amount or int(total * coupon.percent))


def applies(coupon: Coupon, entry: Mapping[str, Any], earlier: Sequence[Period], period: Period) -> bool:
    """Whether a coupon of a subscription counts for a period.

    entry: of `Subscription.coupons`. earlier: the periods of that contract that began before: what comes later changes nothing.
    """
    used = [item for item in (*earlier, period) if not item.trial and item.end_us > entry["since_us"]]
    return period in used and (coupon.periods is None or len(used) <= coupon.periods)


def _body(
    code: str, percent: str | None, amount: str | None, currency: str, periods: int | None, until_us: int | None, now_us: int
) -> dict[str, Any]:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise BillingError(f'coupon: found "{str(code)[:60]}", allowed: A-Z, 0-9, "-" and "_", at most 40. Write it so.')
    if (percent is None) == (amount is None):
        raise BillingError(
            f"coupon {code}: found {'both' if percent else 'neither'}, allowed: percent or amount. Give one of them."
        )
    share = money.parse(percent, f"coupon {code}: percent") if percent is not None else 0
    value = money.parse(amount, f"coupon {code}: amount") if amount is not None else 0
    if share > 100 * money.UNIT or share + value == 0:
        raise BillingError(f"coupon {code}: found {percent or amount}, allowed: more than 0, and at most 100 per cent. Correct it.")
    if amount is not None:
        money.exponent(currency)
    if periods is not None and (isinstance(periods, bool) or not isinstance(periods, int) or not 1 <= periods <= 1200):
        raise BillingError(f"coupon {code}: periods: found {str(periods)[:40]}, allowed: 1 to 1200, or none for all. Correct it.")
    if until_us is not None and until_us <= now_us:
        raise BillingError(f"coupon {code}: until: found a time that has passed, allowed: one to come. Correct it.")
    shown = {"percent": money.plain(share), "amount": money.plain(value), "currency": currency if amount is not None else ""}
    return {**shown, "periods": periods, "until_us": until_us}
