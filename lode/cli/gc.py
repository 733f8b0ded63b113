"""Free what no artifact and no recent run needs, pack old snapshots; says first what it will do."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lode.cli.options import add_runs, runs_folder
from lode.core.errors import SpecError


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="latest runs of each name that keep all they have (default: 3, and as many snapshots as data.store.keep says)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="free it; without this, and without a person to ask, it only says what it would free"
    )
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.gc import free, garbage

    if args.keep is not None and args.keep < 0:
        raise SpecError(f"--keep: found {args.keep}, allowed: 0 or more. 0 keeps only what artifacts need.")
    runs = runs_folder(args)
    found = garbage(runs, args.keep)
    agreed = args.yes
    if found and not agreed and not args.json and sys.stdin.isatty():
        print(_list(found), file=sys.stderr)
        agreed = input("Free this? [y/N] ").strip().lower() in {"y", "yes"}
    if found and agreed:
        found = free(runs, args.keep)
    return {"folders": found, "bytes": sum(entry["bytes"] for entry in found), "freed": bool(found and agreed)}


def show(result: dict[str, Any]) -> str:
    if not result["folders"]:
        return "nothing to free"
    lines = [_list(result["folders"])]
    lines.append(
        f"freed {result['bytes'] / 2**20:,.1f} MiB"
        if result["freed"]
        else f"would free {result['bytes'] / 2**20:,.1f} MiB: lode gc --yes"
    )
    return "\n".join(lines)


def _list(found: list[dict[str, Any]]) -> str:
    return "\n".join(f"{entry['bytes'] / 2**20:10,.1f} MiB  {entry['do']}  {entry['folder']}  ({entry['why']})" for entry in found)
