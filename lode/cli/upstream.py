"""Hold a provider's usage file against the books: what it charged, what we noted, day by day."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli.options import add_books, opened


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=("reconcile",), metavar="ACTION", help="reconcile: compare")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the provider's usage, CSV or JSON: date, model, cost, currency, and counts if it has them",
    )
    parser.add_argument("--provider", help="only costs of this one, as its price list calls it (default: all)")
    parser.add_argument("--model", help="the model of ours that the file is about (default: by name, else all together)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Nothing is written."""
    from lode.app.upstream.reconcile import reconcile

    with opened(args) as store:
        return reconcile(store, args.file, provider=args.provider, model=args.model)


def show(result: dict[str, Any]) -> str:
    """A line for each day and model, and the rate."""
    currency = result["currency"]
    lines = [f"{'day':<12}{'model':<20}{'provider ' + currency:>20}{'ours ' + currency:>20}{'difference':>20}{'captured':>10}"]
    for item in result["days"]:
        provider, ours = item["provider"]["cost"], item["ours"]["cost"]
        captured = item["capture_rate"] or "-"
        lines.append(f"{item['date']:<12}{item['model']:<20}{provider:>20}{ours:>20}{item['difference']:>20}{captured:>10}")
    lines.append(
        f"captured {result['capture_rate'] or '-'}: {result['our_cost']} of {result['provider_cost']} {currency}, "
        f"{result['estimated_requests']} requests estimated"
    )
    lines += [f"  estimated: {item['date']} {item['model']} {item['request_id']} ({item['kind']}) {item['cost']} {currency}"
              for item in result["estimated"][:10]]  # fmt: skip
    lines += [f"not compared: {amount} {other}" for other, amount in result["other_currencies"].items()]
    return "\n".join(lines)
