"""What `lode margin` and `lode worth` count costs with: options, and how they are read."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import TYPE_CHECKING

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

    rates = dict(_rate(written) for written in args.rate)
    spread, months = _spread(args.spread)
    hours = number(args.machine_hours, "--machine-hours") if args.machine_hours else None
    floor = getattr(args, "floor", "0")
    return Terms(
        price=hour_price(args.price_per_hour, args.currency) if args.price_per_hour else None, models=model_facts(runs_folder(args)),
        currency=args.currency or "", rates=rates, spread=spread, spread_months=months, floor=number(floor, "--floor"),
        machine_us=None if hours is None else int(hours * 3_600_000_000),
    )  # fmt: skip


def _rate(written: str) -> tuple[str, Fraction]:
    code, sign, rate = written.partition("=")
    if not sign or len(code) != 3:
        raise BillingError(f'--rate: found "{written}", wanted CODE=RATE, such as USD=0.92. Write it so.')
    return code, number(rate, "--rate", above=True)


def _spread(written: str | None) -> tuple[int | None, int | None]:
    if written is None:
        return None, None
    count = written.removesuffix("mo")
    if not count.isascii() or not count.isdigit() or not int(count):
        raise BillingError(f'--spread: found "{written}", wanted requests such as 100000, or months such as 12mo. Write it so.')
    return (None, int(count)) if written.endswith("mo") else (int(count), None)


def number(written: str, where: str, *, above: bool = False) -> Fraction:
    """A plain number, exactly. Errors: BillingError."""
    try:
        value = Fraction(written) if len(written) <= 40 and "/" not in written and "e" not in written.lower() else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if value < 0 or (above and not value):
        raise BillingError(f'{where}: found "{written}", wanted a number {"above 0" if above else "from 0 on"}. Write it so.')
    return value


def amount(written: str, where: str) -> Fraction:
    """10^-12 units of what a person wrote. Errors: BillingError."""
    from lode.core import money

    return Fraction(money.parse(written, where))


def optional(written: str | None, where: str) -> Fraction | None:
    """The same where it was written."""
    return None if written is None else amount(written, where)
