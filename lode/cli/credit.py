"""Prepaid credit, credit notes, payments: money that moves after or before the invoice.

lode credit add acme 100.00 --expires 2027-12-31 --reference bank-4711
lode credit note 2026-000123 2 12.50 --reason "wrong answers on 3 November"
lode credit pay 2026-000123
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import opened, runs_folder
from lode.core.errors import BillingError

_AMOUNTS = ("amount", "left", "balance", "open", "refunded", "kept")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    made = actions.Actions(parser)
    top_up = made.add("add", _add, "prepaid credit that a customer paid for")
    gift = made.add("goodwill", _add, "prepaid credit that is given away; never paid out")
    for one in (top_up, gift):
        one.add_argument("organisation", metavar="CUSTOMER")
        one.add_argument("amount", metavar="AMOUNT", help="in the customer's currency, such as 100.00")
        one.add_argument(
            "--expires", default="", metavar="WHEN", help="2027-12-31, a time with its offset, or 90d (default: never)"
        )
        one.add_argument("--priority", type=int, default=100, metavar="N", help="smaller numbers are used first (default: 100)")
        one.add_argument("--reference", default="", metavar="TEXT", help="of the payment; the same again is the same top-up")
        one.add_argument("--reason", default="", metavar="TEXT", help="why")
    note = made.add("note", _note, "credit a part of one line of an invoice")
    note.add_argument("invoice", metavar="INVOICE", help="its number")
    note.add_argument("line", type=int, metavar="LINE", help="its number on the invoice")
    note.add_argument("amount", metavar="AMOUNT", help="as the line counts: without tax, unless prices hold it")
    void = made.add("void", _void, "credit all that is left of an invoice")
    void.add_argument("invoice", metavar="INVOICE")
    for one in (note, void):
        one.add_argument("--reason", required=True, metavar="TEXT", help="stands on the credit note")
        one.add_argument(
            "--to", default="balance", metavar="WHERE", help="balance, or cash: paid out, if it was paid (default: balance)"
        )
        one.add_argument("--seller", type=Path, metavar="FILE", help="default: seller.toml in runs")
        one.add_argument("-o", "--output", type=Path, metavar="DIR", help="where it is written (default: invoices in runs)")
    note.add_argument("--reference", default="", metavar="TEXT", help="the same again is the same note")
    pay = made.add("pay", _pay, "book a payment of an invoice")
    pay.add_argument("invoice", metavar="INVOICE")
    pay.add_argument("amount", nargs="?", default="", metavar="AMOUNT", help="default: all that is open")
    pay.add_argument("--reference", default="", metavar="TEXT", help="of the bank; the same again is the same payment")
    pay.add_argument("--from-balance", action="store_true", help="no money came: use what credit notes left with you")
    _add_refund(made)
    made.add("list", _list, "what is left of prepaid credit").add_argument("organisation", metavar="CUSTOMER")
    made.add("expire", _expire, "book credit whose time is over; `lode bill` does it, too")


def _add_refund(made: actions.Actions) -> None:
    refund = made.add("refund", _refund, "pay unused prepaid credit back, or what is kept for a customer")
    refund.add_argument("organisation", metavar="CUSTOMER")
    refund.add_argument("amount", metavar="AMOUNT")
    refund.add_argument("--grant", default="", metavar="ID", help="which (default: the one used last)")
    refund.add_argument("--from-balance", action="store_true", help="of what credit notes and corrections left with you instead")
    refund.add_argument("--reason", required=True, metavar="TEXT", help="why")
    refund.add_argument("--reference", default="", metavar="TEXT", help="the same again is the same refund")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Perform the action."""
    return actions.run(args)


def _add(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.access import checks
    from lode.app.invoices import wallet

    expires_us = checks.instant_us(args.expires, "expires", actions.clock_us())
    with opened(args) as store:
        return wallet.add(
            store, actions.ACTOR, args.organisation, args.amount, now_us=actions.clock_us, expires_us=expires_us, priority=args.priority,
            reference=args.reference, reason=args.reason, given=args.action == "goodwill",
        )  # fmt: skip


def _note(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import notes

    with opened(args) as store:
        body = notes.note(
            store, actions.ACTOR, _seller(args), args.invoice, args.line, args.amount, args.reason, now_us=actions.clock_us, to=args.to,
            reference=args.reference,
        )  # fmt: skip
    return _written(args, body)


def _void(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import notes

    with opened(args) as store:
        body = notes.void(store, actions.ACTOR, _seller(args), args.invoice, args.reason, now_us=actions.clock_us, to=args.to)
    return _written(args, body)


def _seller(args: argparse.Namespace) -> Any:
    from lode.app.invoices import seller

    return seller.read(args.seller or runs_folder(args) / "seller.toml")


def _written(args: argparse.Namespace, body: dict[str, Any]) -> dict[str, Any]:
    from lode.app.invoices import files

    paths, warnings = files.write(body, args.output or runs_folder(args) / "invoices", _seller(args).fonts)
    return {**body, "files": paths, "warnings": warnings}


def _pay(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import payments

    with opened(args) as store:
        return payments.pay(
            store,
            actions.ACTOR,
            args.invoice,
            args.amount,
            now_us=actions.clock_us,
            reference=args.reference,
            from_balance=args.from_balance,
        )


def _refund(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import payments, wallet

    if args.from_balance and args.grant:
        raise BillingError(f"--grant: found {args.grant} with --from-balance, allowed: one of them. Leave one out.")
    with opened(args) as store:
        if args.from_balance:
            return payments.pay_out(
                store, actions.ACTOR, args.organisation, args.amount, args.reason, now_us=actions.clock_us, reference=args.reference
            )
        return wallet.refund(
            store, actions.ACTOR, args.organisation, args.amount, args.reason, now_us=actions.clock_us, grant=args.grant,
            reference=args.reference,
        )  # fmt: skip


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import wallet

    with opened(args) as store:
        return wallet.listed(store, args.organisation)


def _expire(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.invoices import wallet

    with opened(args) as store:
        return {"expired": wallet.expire(store, actions.ACTOR, now_us=actions.clock_us)}


def show(result: dict[str, Any]) -> str:
    """One thing, line by line."""
    if "grants" in result:
        return _grants(result)
    if "expired" in result:
        rows = [(row["organisation"], row["grant"], actions.amount(row["amount"], row["currency"])) for row in result["expired"]]
        return actions.columns(rows) or "nothing expired"
    if "total" in result:
        return _noted(result)
    money = {name: actions.amount(result[name], result["currency"]) for name in _AMOUNTS if name in result and "currency" in result}
    told = {name: value for name, value in result.items() if not name.endswith("_us") and value not in (False, "")}
    if result.get("expires_us") is not None:
        told["expires"] = _day(result["expires_us"])
    return actions.lines({**told, **money})


def _grants(result: dict[str, Any]) -> str:
    heading = ("grant", "left", "of", "priority", "kind", "expires")
    rows = [
        (
            row["grant"], row["left"], row["amount"], row["priority"], "given" if row["given"] else "paid",
            "never" if row["expires_us"] is None else _day(row["expires_us"]),
        )
        for row in result["grants"]
    ]  # fmt: skip
    kept = "" if result["kept"] == "0" else f"\nkept from credit notes {actions.amount(result['kept'], result['currency'])}"
    owed = "" if result["owed"] == "0" else f"\nowed {actions.amount(result['owed'], result['currency'])}"
    return f"{actions.columns([heading, *rows])}\nbalance {actions.amount(result['balance'], result['currency'])}{owed}{kept}"


def _noted(result: dict[str, Any]) -> str:
    """A credit note, and where its money went: all that is left over is the customer's."""
    from lode.core import money

    before = result.get("before", ())
    total, settled, prepaid = (money.parse(result[name], name, least=None) for name in ("total", "settled", "to_prepaid"))
    out = money.parse(result.get("paid_out", "0"), "paid_out")  # notes of older versions do not say
    moved = {"less to pay": settled, "back to prepaid credit": prepaid, "paid out": out}
    moved["kept for the customer"] = total - settled - prepaid - out
    return actions.lines({
        **{name: result[name] for name in ("number", "invoice", "reason")},
        **{name: actions.amount(result[name], result["currency"]) for name in ("net", "tax", "total")},
        **{name: money.shown(value, result["currency"]) for name, value in moved.items() if value},
        **{f"line {row['line']}": f"{row['amount']} {result['currency']} was given back before by {row['by']}" for row in before},
        "file": result["files"][-1],
    })  # fmt: skip


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
