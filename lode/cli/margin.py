"""What customers and models bring and cost: gross margin, idle time, break-even; or the same usage under another plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lode.cli import _costing, _margin_words
from lode.cli._actions import ACTOR, clock_us
from lode.cli.options import add_books, opened

if TYPE_CHECKING:
    from lode.app.books.contracts import Store
    from lode.app.prices.plan import Plan


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--by", default="customer,model", metavar="WORDS", help="of customer, project, model, day (default: customer,model)"
    )
    parser.add_argument("--from", dest="start", metavar="DAY", help="first day, UTC (default: 30 days before --to)")
    parser.add_argument("--to", dest="end", metavar="DAY", help="first day that is left out (default: now)")
    parser.add_argument(
        "--plan", metavar="NAME", help="what customers would have paid under this plan, or FILE.toml; changes nothing"
    )
    parser.add_argument(
        "--post", action="store_true", help="write the compute costs of the days that are over into the ledger, once"
    )
    _costing.add_prices(parser)
    parser.add_argument("--floor", default="0", metavar="SHARE", help="mark what has a lower gross margin, such as 0.5")
    parser.add_argument(
        "--fixed", default="0", metavar="AMOUNT", help="costs of this time that do not grow with requests, for the break-even"
    )
    parser.add_argument("--acquisition-cost", metavar="AMOUNT", help="what winning a customer costs, for the payback time")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The report."""
    from lode.app.economics import readings
    from lode.app.economics.margin import margin
    from lode.app.economics.posting import post
    from lode.app.economics.retained import customers_over_time, units_of

    span = readings.window(args.start, args.end, clock_us())
    with opened(args) as store:
        if args.plan is not None:
            from lode.app.economics.simulate import simulate

            return {"simulated": simulate(store, _plan(store, args.plan), span)}
        terms = _costing.terms_of(args)
        found = margin(store, terms, span, args.by.split(","))
        found["unit"] = units_of(found, _costing.amount(args.fixed, "--fixed"))
        found["customers"] = customers_over_time(store, terms, span, _costing.optional(args.acquisition_cost, "--acquisition-cost"))
        if args.post:
            found["posted"] = post(store, ACTOR, terms, span, now_us=clock_us)
    return found


def _plan(store: Store, written: str) -> Plan:
    """The newest version in the books, or a file that ends in .toml."""
    from lode.app.prices import plan, plans

    if written.endswith(".toml"):
        return plan.read_plan(Path(written))
    with store.view() as session:
        return plans.found(session, written, None)


def show(result: dict[str, Any]) -> str:
    """A table, and what stands out."""
    return _margin_words.simulated(result["simulated"]) if "simulated" in result else _margin_words.margin(result)
