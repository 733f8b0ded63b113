"""What `lode margin` and `lode worth` count costs with: options, and how they are read."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import TYPE_CHECKING

from lode.app.economics.compute import number, rates_of
from lode.cli.options import runs_folder
from lode.core.errors import BillingError

if TYPE_CHECKING:
    from lode.app.economics.margin import Terms


def add_prices(parser: argparse.ArgumentParser) -> None:
    """What an hour costs, currencies, and how making a model is written off."""
    parser.add_argument(
        "--price-per-hour", metavar="PRICE",
        help='what the machine costs: "0.12 EUR", or a device that `lode plan` knows (default: the model\'s serve.compute)',
    )  # fmt: skip
    parser.add_argument("--currency", metavar="CODE", help="of the report (default: the only one that occurs)")
    parser.add_argument(
        "--rate", action="append", default=[], metavar="CODE=RATE", help="what one unit of a currency is in that of the report"
    )
    parser.add_argument("--spread", metavar="N", help="write making a model off over N requests (100000) or months (12mo)")
    parser.add_argument(
        "--machine-hours", metavar="HOURS", help="hours that machines were up, to tell the idle ones (default: as the books know)"
    )


def terms_of(args: argparse.Namespace) -> Terms:
    """What the options say, with what the artifacts in the runs folder say. Errors: BillingError."""
    from lode.app.economics.compute import hour_price, model_facts
    from lode.app.economics.margin import Terms

    rates = rates_of(args.rate)
    spread, months = _spread(args.spread)
    hours = number(args.machine_hours, "--machine-hours") if args.machine_hours else None
    floor = number(getattr(args, "floor", "0"), "--floor")
    if floor > 1:
        raise BillingError(f'--floor: found "{args.floor}", wanted a share from 0 to 1, such as 0.5. Write it so.')
    return Terms(
        price=hour_price(args.price_per_hour, args.currency) if args.price_per_hour else None, models=model_facts(runs_folder(args)),
        currency=args.currency or "", rates=rates, spread=spread, spread_months=months, floor=floor,
        machine_us=None if hours is None else int(hours * 3_600_000_000),
    )  # fmt: skip


def _spread(written: str | None) -> tuple[int | None, int | None]:
    if written is None:
        return None, None
    count = written.removesuffix("mo")
    if not count.isascii() or not count.isdigit() or not int(count):
        raise BillingError(f'--spread: found "{written}", wanted requests such as 100000, or months such as 12mo. Write it so.')
    return (None, int(count)) if written.endswith("mo") else (int(count), None)


def amount(written: str, where: str) -> Fraction:
    """10^-12 units of what a person wrote. Errors: BillingError."""
    from lode.core import money

    return Fraction(money.parse(written, where))


def optional(written: str | None, where: str) -> Fraction | None:
    """The same where it was written."""
    return None if written is None else amount(written, where)
