"""Verbs that have verbs of their own (`lode keys create`): one sub-parser each, which takes --json, --books and --runs like its parent."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lode.cli.options import add_books

ACTOR = "cli"
"""Who did it, in the journal."""


class Actions:
    """The actions of one verb. `run` calls the one that was asked for."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(metavar="ACTION", required=True)

    def add(self, name: str, run: Callable[[argparse.Namespace], dict[str, Any]], help: str) -> argparse.ArgumentParser:
        """A new action; its own options are added to what comes back."""
        made: argparse.ArgumentParser = self._parsers.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.set_defaults(action=name, act=run)
        add_books(made)
        # Suppressed, so that the parent's own --json, said before, is not overwritten.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object, nothing else")
        return made


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Perform the action."""
    done: dict[str, Any] = args.act(args)
    return done


def clock_us() -> int:
    """Now, microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def amount(text: str, currency: str) -> str:
    """An exact amount for people: "1,234.50 EUR"; what is finer than a coin is shown whole."""
    from lode.core import money

    return money.shown(money.parse(text, "amount", least=None), currency)


def columns(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells as lines in columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not texts:
        return ""
    widths = [max(len(row[place]) for row in texts) for place in range(len(texts[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts)


def lines(found: Mapping[str, Any]) -> str:
    """One thing, a line for each figure that says something."""
    shown = {key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value for key, value in found.items()}
    return columns((key, value) for key, value in shown.items() if value not in ("", None))


def versions(item: Mapping[str, Any]) -> str:
    """The plan of a contract, and what corrects its price."""
    steps = [f"{item['plan']}@{step['by']}{' from ' * bool(step['since'])}{step['since']}" for step in item["corrections"]]
    return ", corrected by ".join([f"{item['plan']}@{item['version']}", *steps])
