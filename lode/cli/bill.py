"""Close what is over and issue invoices: JSON, HTML and PDF in runs/invoices.

lode bill acme                      everything of acme that is due, oldest period first
lode bill --all                     the same of every customer
lode bill acme --draft              what the running period would come to; nothing is issued
lode bill --list; lode bill --show 2026-000123
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import add_books, opened, runs_folder

SELLER = "seller.toml"
FOLDER = "invoices"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("organisation", nargs="?", default="", metavar="CUSTOMER", help="whom to bill")
    parser.add_argument("--all", action="store_true", help="every customer; one that cannot be closed does not stop the others")
    parser.add_argument("--period", default="", metavar="START", help="up to the period that begins then: 2026-11 or 2026-11-15")
    parser.add_argument("--draft", action="store_true", help="show the open period as if it ended now; issue nothing")
    parser.add_argument("--interim", action="store_true", help="bill what was used so far of the running period, too")
    parser.add_argument(
        "--grace-days", type=int, default=1, metavar="N", help="a period that ended stays open for late events: 0 to 3 (default: 1)"
    )
    parser.add_argument("--list", action="store_true", help="issued invoices, and what is open of each")
    parser.add_argument("--show", default="", metavar="NUMBER", help="an issued invoice or credit note; its files are made again")
    parser.add_argument(
        "--replace", default="", metavar="NUMBER", help="write a voided invoice anew: today's address, a new number"
    )
    parser.add_argument(
        "--seller", type=Path, metavar="FILE", help="who sells, tax rates, exchange rates (default: seller.toml in runs)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where documents are written (default: invoices in runs)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Bill, list or show."""
    from lode.app.invoices import closing, overview, replacing, seller, wallet
    from lode.core.errors import BillingError

    if args.show or args.list:
        with opened(args) as store:
            return _written(args, [overview.show(store, args.show)]) if args.show else overview.listed(store, args.organisation)
    if args.replace:
        with opened(args) as store:
            body = replacing.replace(
                store, actions.ACTOR, seller.read(args.seller or runs_folder(args) / SELLER), args.replace, now_us=actions.clock_us
            )
            return _written(args, [{"organisation": body["organisation"], "issued": [body]}])
    if bool(args.organisation) == args.all:
        raise BillingError("lode bill: found neither or both, allowed: one CUSTOMER, or --all. Name one.")
    if args.all and (args.draft or args.period):
        raise BillingError("lode bill --all: found --draft or --period, allowed with one CUSTOMER only. Name one.")
    sells = seller.read(args.seller or runs_folder(args) / SELLER)
    with opened(args) as store:
        if args.draft:
            return _written(args, [closing.draft(store, args.organisation, sells, now_us=actions.clock_us, period=args.period)])
        expired = wallet.expire(store, actions.ACTOR, now_us=actions.clock_us)
        options = {"grace_days": args.grace_days, "interim": args.interim}
        if args.all:
            found = closing.bill_all(store, actions.ACTOR, sells, now_us=actions.clock_us, **options)
        else:
            found = [
                closing.bill(store, actions.ACTOR, args.organisation, sells, now_us=actions.clock_us, period=args.period, **options)
            ]
    result = {**_written(args, found), "expired": expired}
    failed = [row["failed"] for row in found if row.get("failed")]
    if failed:
        issued = ", ".join(body["number"] for body in result["issued"]) or "nothing"
        raise BillingError("\n".join([*failed, f"The others were closed; issued: {issued}."]))
    return result


def _written(args: argparse.Namespace, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The documents as files; one result of all customers."""
    from lode.app.invoices import files, seller

    folder = args.output or runs_folder(args) / FOLDER
    file = args.seller or runs_folder(args) / SELLER
    fonts = seller.read(file).fonts if file.exists() else ()  # to show a document again nobody needs to know who sells today
    issued, paths, warnings = [], [], []
    for row in found:
        warnings += row.get("warnings", [])
        for body in row["issued"]:
            made, told = files.write(body, folder, fonts)
            issued.append(body)
            paths += made
            warnings += told
    books = {row["organisation"]: row["identity"] for row in found if row.get("identity")}
    standing = {row["organisation"]: row["standing"] for row in found if row.get("standing")}
    return {"issued": issued, "files": paths, "warnings": list(dict.fromkeys(warnings)), "books": books, "standing": standing}


def show(result: dict[str, Any]) -> str:
    """Documents with their lines; or the list."""
    if "invoices" in result:
        rows = [
            [row[name] for name in ("number", "organisation", "kind", "period", "total", "open", "currency", "status")]
            for row in result["invoices"]
        ]
        heading = ["number", "customer", "kind", "period", "total", "open", "currency", "status"]
        return actions.columns([heading, *rows]) if rows else "no invoice was issued yet"
    parts = [_shown(body) for body in result["issued"]] or ["nothing is due"]
    parts += [f"status: {row['status']}, open {row['open']}" for row in result.get("standing", {}).values()]
    parts += [f"expired: {row['amount']} {row['currency']} of {row['organisation']}" for row in result.get("expired", [])]
    if result["files"]:
        parts.append(f"documents: {Path(result['files'][0]).parent}")
    parts += [f"warning: {text}" for text in result["warnings"]]
    parts += [_identity(name, books) for name, books in result["books"].items()]
    return "\n".join(part for part in parts if part)


def _shown(body: dict[str, Any]) -> str:
    from lode.app.invoices.layout import page

    shown = page(body)
    rows = [[row.line, row.text, row.quantity, row.amount] for row in shown.rows]
    totals = [f"  {label}: {value}" for label, value in (*shown.totals, shown.due) if value]
    table = "\n".join(f"  {line}" for line in actions.columns(rows).splitlines())
    return "\n".join([f"{shown.title} {shown.number}  {shown.customer[0]}  {body['period']['label']}".rstrip(), table, *totals])


def _identity(name: str, books: dict[str, Any]) -> str:
    requests = f"{books['acknowledged']:,} requests acknowledged = {books['metered']:,} metered"
    sums = f"rated {books['rated']} = invoiced {books['invoiced']} + open {books['open']} + waived {books['waived']}"
    return f"{name}: {requests}; {sums}; leakage {books['leakage']}; completeness {books['completeness']}"
