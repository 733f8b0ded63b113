"""What customers used: totals here, every request in a file (CSV, Parquet, FOCUS), and whether the books are complete.

lode usage --by customer,model
lode usage acme --from 2026-11-01 --to 2026-12-01 -o acme.csv
lode usage --from 2026-11-01 --to 2026-12-01 -o november.focus.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli import _actions as actions
from lode.cli.options import add_books, opened, runs_folder

_SHOWN = 60


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("organisation", nargs="?", default="", metavar="CUSTOMER", help="default: all")
    parser.add_argument("--from", dest="since", default="", metavar="WHEN", help="2026-11-01 (UTC) or a time with its offset")
    parser.add_argument("--to", dest="until", default="", metavar="WHEN", help="up to then; not included")
    parser.add_argument(
        "--by", default="customer", metavar="WORDS", help="customer, project, key, model, plan, provider, day; with commas"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write every request: FILE.csv, FILE.parquet or FILE.focus.csv"
    )
    parser.add_argument(
        "--billed", action="append", default=[], metavar="PROVIDER=AMOUNT", help="a provider's own bill: shows the capture rate"
    )
    parser.add_argument(
        "--import",
        dest="events",
        type=Path,
        metavar="FILE",
        help="bill events that were measured elsewhere: one JSON object a line",
    )
    parser.add_argument("--quarantine", action="store_true", help="events that could not be billed, and why")
    parser.add_argument("--seller", type=Path, metavar="FILE", help="issuer in FOCUS (default: seller.toml in runs)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Totals, a file, or an import."""
    from lode.app.invoices import events, export, usage
    from lode.core.errors import BillingError

    what = usage.asked(args.organisation, args.since, args.until)
    with opened(args) as store:
        if args.quarantine:
            return events.quarantined(store, args.organisation)
        if args.events:
            return events.read(store, actions.ACTOR, args.events, now_us=actions.clock_us)
        billed = dict(item.partition("=")[::2] for item in args.billed)
        if not all(billed.values()):
            raise BillingError(f"billed: found {args.billed}, wanted PROVIDER=AMOUNT, like openai=120.50. Correct it.")
        found = usage.totals(store, what, [word.strip() for word in args.by.split(",") if word.strip()], billed=billed)
        if args.output:
            found |= export.write(store, what, args.output, issuer=_issuer(args), now_us=actions.clock_us)
    return found


def _issuer(args: argparse.Namespace) -> str:
    """The seller's name where there is a seller file."""
    from lode.app.invoices import seller

    path = args.seller or runs_folder(args) / "seller.toml"
    return seller.read(path).name if args.seller or path.exists() else ""


def show(result: dict[str, Any]) -> str:
    """A table, the ratios, what is wrong."""
    if "held" in result:
        return (
            "\n".join(f"{row['organisation']}  {row['request_id']}  {row['at']}  {row['why']}" for row in result["held"])
            or "nothing is held"
        )
    if "accepted" in result:
        return actions.lines({name: result[name] for name in ("accepted", "known", "quarantined", "amount")})
    parts = [_table(result)]
    leaks = ", ".join(f"{amount} {currency}" for currency, amount in result["leakage"].items()) or "0"
    parts.append(f"completeness {result['completeness']}, leakage {leaks}" + "".join(_captured(result)))
    if result["quarantined"]:
        parts.append(f"{result['quarantined']:,} events are held in quarantine: lode usage --quarantine")
    parts += [
        f"{owner}: {count:,} answered requests without a plan, which nobody pays: lode plans subscribe {owner} PLAN"
        for owner, count in result["unpriced"].items()
    ]
    parts += [f"{owner}: {problem}" for owner, books in result["books"].items() for problem in books["problems"]]
    if "file" in result:
        parts.append(f"{result['rows']:,} rows in {result['file']}")
    return "\n".join(parts)


def _captured(result: dict[str, Any]) -> list[str]:
    return [f", capture of {name} {row['rate']} ({row['computed']} of {row['billed']})" for name, row in result["capture"].items()]


def _table(result: dict[str, Any]) -> str:
    rows = result["totals"]
    if not rows:
        return "no usage"
    names = [
        *result["by"],
        *(unit for unit in ("requests", "rows", "input_tokens", "output_tokens") if any(row[unit] for row in rows)),
        "amount",
        "currency",
    ]
    table = actions.columns([names, *([row[name] for name in names] for row in rows[:_SHOWN])])
    more = f"\n... and {len(rows) - _SHOWN:,} more: -o FILE.csv has them all" if len(rows) > _SHOWN else ""
    return table + more
