"""What a model is worth: cost to serve, revenue, margin and the value of its decisions; and what came true, from a file."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lode.cli import _costing
from lode.cli._actions import ACTOR, clock_us
from lode.cli.options import add_books, opened, runs_folder
from lode.core.errors import BillingError, reason

_OUTCOMES = "outcomes"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="a model, or the word outcomes to report some from a FILE")
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="outcomes: CSV or JSON lines with request_id, row, outcome, ..."
    )
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE", help="write the page (HTML) there")
    parser.add_argument("--from", dest="start", metavar="DAY", help="first day of decisions, UTC (default: 30 days before --to)")
    parser.add_argument("--to", dest="end", metavar="DAY", help="first day that is left out (default: now)")
    parser.add_argument(
        "--close", metavar="MONTH", help="seal the report of a month, such as 2026-11, or restate it after new outcomes"
    )
    parser.add_argument("--version", type=int, metavar="V", help="whose amounts are used (default: the newest)")
    parser.add_argument(
        "--organisation", metavar="CUSTOMER", help="outcomes: whose requests they are, where the file has no such column"
    )
    parser.add_argument("--months", type=int, default=12, metavar="N", help="of the present value (default: 12)")
    parser.add_argument("--discount", default="0.10", metavar="RATE", help="a year, for the present value (default: 0.10)")
    _costing.add_prices(parser)
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The record, or what became of a file of outcomes."""
    if args.name == _OUTCOMES:
        return _report(args)
    from lode.app.economics import readings, sealed
    from lode.app.economics.compute import number
    from lode.app.economics.worth import Outlook, worth

    if args.file is not None:
        raise BillingError(
            f'lode worth: found "{args.file}" after {args.name}, wanted it after the word outcomes only. Leave it out.'
        )
    if not 1 <= args.months <= 600:
        raise BillingError(f"--months: found {args.months}, wanted 1 to 600. Correct it.")
    terms, outlook = _costing.terms_of(args), Outlook(months=args.months, discount=number(args.discount, "--discount"))
    with opened(args) as store:
        if args.close:
            body = sealed.close(store, ACTOR, runs_folder(args), args.name, args.close, terms, now_us=clock_us, outlook=outlook)
            found = {**body["report"], "sealed": {key: value for key, value in body.items() if key != "report"}}
        else:
            span = readings.window(args.start, args.end, clock_us())
            found = worth(store, runs_folder(args), args.name, span, terms, version=args.version, outlook=outlook)
    if args.output is not None:
        from lode.app.economics.page import page

        args.output.write_text(page(found, found.get("sealed")), encoding="utf-8")
        found["page"] = str(args.output)
    return found


def show(result: dict[str, Any]) -> str:
    """The sentence, the amounts, the risks."""
    if "recorded" in result:
        return f"{result['recorded']} outcomes recorded, {result['repeated']} were known, of {result['requests']} requests."
    from lode.app.economics.page import percent, sentence, short

    currency, serving = result["currency"], result["serving"]
    lines = [
        sentence(result),
        f"Cost to serve {short(serving['cost'], currency)}, revenue {short(serving['revenue'], currency)}, "
        f"gross margin {percent(serving['gross_margin'])}; {serving['requests']:,} requests.",
        f"Decision value: {short(result['lead'], currency)} more than {result['best_simple'] or 'nothing'}, "
        f"{percent(result['share_estimated'])} of the decisions estimated.",
    ]
    if result["investment"] is not None:
        plan = result["investment"]
        back = "never pays back" if plan["payback_months"] is None else f"pays back in month {plan['payback_months']}"
        lines.append(
            f"Return {percent(plan['roi'])}, present value {short(plan['npv'], currency)} over {plan['months']} months, {back}."
        )
    lines += [f"- {risk}" for risk in result["risks"]]
    if "sealed" in result:
        restated = result["sealed"]["restates"]
        lines.append(f"Closed as {result['sealed']['id']}{', which restates ' + restated['id'] if restated else ''}.")
    return "\n".join([*lines, *([f"Page: {result['page']}"] if "page" in result else [])])


def _report(args: argparse.Namespace) -> dict[str, Any]:
    """Errors: BillingError naming the line; what stands before it is recorded, and the same file may be given again."""
    from lode.app.economics.outcomes import report

    if args.file is None:
        raise BillingError("lode worth outcomes: found no file, wanted one. Write lode worth outcomes FILE.")
    sums = {"recorded": 0, "repeated": 0, "requests": 0}
    with opened(args) as store:
        for place, customer, request_id, items in _requests(args.file, args.organisation):
            try:
                found = report(store, ACTOR, customer, request_id, items, now_us=clock_us)
            except BillingError as error:
                raise type(error)(f"{args.file}:{place}: {error}") from None
            sums["requests"] += 1
            for word in ("recorded", "repeated"):
                sums[word] += found[word]
    return sums


def _requests(path: Path, customer: str | None) -> Iterator[tuple[int, str, str, list[dict[str, Any]]]]:
    """Line, customer, request id and outcomes of requests whose rows stand one after another."""
    begun: tuple[int, str, str, list[dict[str, Any]]] | None = None
    for place, record in _records(path):
        owner, id = str(record.pop("organisation", "") or customer or ""), str(record.pop("request_id", "") or "")
        if not owner or not id:
            wanted = "an organisation (a column, or --organisation CUSTOMER)" if id else "a request_id"
            raise BillingError(f"{path}:{place}: found no {wanted.partition(' ')[2]}, wanted {wanted}. Add it.")
        if begun is None or (owner, id) != begun[1:3]:
            if begun is not None:
                yield begun
            begun = (place, owner, id, [])
        begun[3].append(record)
    if begun is not None:
        yield begun


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                for place, row in enumerate(csv.DictReader(file), start=2):
                    yield place, {str(key): _cell(str(key), value) for key, value in row.items() if value not in ("", None)}
                return
            for place, line in enumerate(file, start=1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise BillingError(
                            f'{path}:{place}: found no object, wanted one such as {{"request_id": ..., "outcome": 1}}.'
                        )
                    yield place, record
    except (OSError, ValueError) as error:
        raise BillingError(f"{path}: cannot be read ({reason(error)}). Give CSV (.csv) or JSON lines, in UTF-8.") from None


def _cell(key: str, value: Any) -> Any:
    """Numbers of a CSV as numbers; names and times as they stand."""
    if key in ("request_id", "organisation", "happened") or not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
