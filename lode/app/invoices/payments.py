"""Payments of invoices: money that came in for what is owed; and what is kept for a customer paid out."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Document, Session, Store, Transfer
from lode.app.invoices import customers, wallet
from lode.app.invoices.documents import issued
from lode.app.invoices.returned import cash
from lode.app.invoices.standing import PAYMENT, kept, standing
from lode.core import money
from lode.core.errors import BillingError


def pay(
    store: Store, actor: str, invoice: str, amount: str, *, now_us: Callable[[], int], reference: str = "", from_balance: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Book a payment. amount: "" for all that is open. reference: of the bank; the same again is the same payment.

    from_balance: no money came; what credit notes left with us is used ("" for as much of it as there is).
    Errors: BillingError beyond what is open (the rest may be a top-up) or kept, ConflictError.
    """
    pico = money.parse(amount, "amount", least=1) if amount else None
    asked = "" if pico is None else money.plain(pico)
    once, fingerprint = wallet.named("payment", reference), f"{invoice}|{asked}{'|balance' if from_balance else ''}"

    def work(session: Session) -> dict[str, Any]:
        found = issued(session, invoice)
        owner, currency = found.organisation, found.body["currency"]
        if again := wallet.earlier(session, owner, once, fingerprint):
            return again.act.documents[0].body
        is_open = standing(session, found).open
        balance = kept(session, owner) if from_balance else is_open
        paid = min(is_open, balance) if pico is None else pico
        if not 0 < paid <= is_open or paid != money.coins(paid, currency):
            raise BillingError(
                f"amount: found {money.plain(paid)}, allowed: whole coins up to {money.plain(max(is_open, 0))} {currency}, "
                f"which is open of "
                f"{invoice}. What came beyond it can be prepaid credit: lode credit add {owner} AMOUNT."
            )
        if paid > balance:
            raise BillingError(
                f"amount: found {money.plain(paid)}, allowed: up to {money.plain(balance)} {currency}, which is kept for {owner}."
            )
        body = {
            "payment": f"pay_{secrets.token_hex(8)}", "invoice": invoice, "organisation": owner, "amount": money.plain(paid),
            "currency": currency, "reference": reference, "at_us": now_us(), "open": money.plain(is_open - paid),
            "from": "balance" if from_balance else "cash",
        }  # fmt: skip
        act = Act(
            "payment.receive", actor, owner, reference=once, fingerprint=fingerprint if once else "",
            # From the balance nothing moves: both stand in the same account.
            transfers=() if from_balance else (Transfer(accounts.cash(currency), accounts.receivable(owner), paid),),
            documents=(Document(PAYMENT, str(body["payment"]), owner, body),),
        )  # fmt: skip
        wallet.written(session, act, now_us())
        return body

    return store.transact(work)


def pay_out(
    store: Store, actor: str, organisation: str, amount: str, reason: str, *, now_us: Callable[[], int], reference: str = ""
) -> dict[str, Any]:
    """Pay out what is kept for a customer: what credit notes and corrected prices left, less its open invoices.

    reference: the same again is the same refund. Errors: BillingError beyond that, or beyond what came from the customer and did not go
    back; ConflictError.
    """
    pico, once = money.parse(amount, "amount", least=1), wallet.named("refund", reference)
    fingerprint = f"{money.plain(pico)}||balance"
    if not reason:
        raise BillingError("reason: found none, wanted why. Add --reason TEXT.")

    def work(session: Session) -> dict[str, Any]:
        currency = customers.found(session, organisation).currency
        again = wallet.earlier(session, organisation, once, fingerprint)
        return _paid_out((again.act if again else write(session, currency)), currency)

    def write(session: Session, currency: str) -> Act:
        balance, (came, went) = -journal.balance(session, accounts.receivable(organisation)), cash(session, organisation, currency)
        left = max(min(balance, came - went), 0)
        if pico > left or pico != money.coins(pico, currency):
            raise BillingError(
                f"amount: found {money.plain(pico)}, allowed: whole coins up to {money.plain(left)} {currency}: "
                f"{money.plain(max(balance, 0))} is kept for {organisation} beyond its open invoices, {money.plain(came)} came from it and "
                f"{money.plain(went)} went back. See `lode credit list {organisation}`."
            )
        act = Act(
            "credit.refund", actor, organisation, reference=once, fingerprint=fingerprint if once else "",
            transfers=(Transfer(accounts.receivable(organisation), accounts.cash(currency), pico),),
            facts={"reason": reason, "kept": money.plain(kept(session, organisation) - pico)},
        )  # fmt: skip
        return wallet.written(session, act, now_us()).act

    return store.transact(work)


def _paid_out(act: Act, currency: str) -> dict[str, Any]:
    """The answer, of the first time and of every later one."""
    refunded = money.plain(act.transfers[0].amount)
    return {"organisation": act.organisation, "refunded": refunded, "currency": currency, "kept": act.facts["kept"]}
