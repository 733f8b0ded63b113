"""Bring a backup back, whole and proved, or rehearse it with --verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli.options import add_runs, runs_folder
from lode.core.packages import missing

_LIVE = {
    "beginning": "the books in use go on from these entries",
    "ahead": "the books in use end BEFORE these entries: something is missing there",
    "other": "the books in use are NOT a continuation of these entries: compare both, `lode audit verify`",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", metavar="TARGET", help="where `lode backup` put it")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="the key that it was made with")
    parser.add_argument("--to", type=Path, metavar="DIR", help="the runs folder to make; nothing is overwritten")
    parser.add_argument(
        "--verify", action="store_true", help="check everything that was restored; without --to in a temporary folder"
    )
    parser.add_argument("--at", metavar="SNAPSHOT", help="exactly this one (default: the newest, and what was shipped after it)")
    parser.add_argument("--list", action="store_true", help="list the snapshots, and do nothing else")
    parser.add_argument(
        "--books",
        metavar="LOCATION",
        help="rebuild books that were backed up as a journal here, postgresql://...: an empty database",
    )
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Restore, rehearse, or list."""
    try:
        from lode.app.backup import command
    except ModuleNotFoundError as error:
        raise missing("restore", error) from None
    if args.list:
        return command.snapshots(args.target, args.key_file)
    return command.restore(
        args.target, args.key_file, args.to, at=args.at, check=args.verify, books=args.books, runs=runs_folder(args)
    )  # fmt: skip


def show(result: dict[str, Any]) -> str:
    """For people."""
    if "snapshots" in result:
        lines = [
            f"{item['snapshot']}  {item['at']}  {item['files']:>5} files {item['bytes'] / 1e6:>9,.1f} MB"
            + ("" if item["entries"] is None else f"  entry {item['entries']:,}")
            + ("  damaged: cannot be restored" if item["damaged"] else "")
            for item in result["snapshots"]
        ]
        return "\n".join(lines) or "no snapshot"
    where = f"restored to {result['to']}" if result["to"] else "rehearsed, nothing kept"
    lines = [f"snapshot {result['snapshot']}: {result['files']} files, {result['bytes'] / 1e6:,.1f} MB, {where}"]
    books, checked = result["books"], result["checked"]
    if books is not None:
        shipped = f", {books['shipped']:,} of them shipped after the snapshot" if books["shipped"] else ""
        lines.append(f"books to entry {books['sequence']:,} of {books['at']} ({books['hash'][:16]}){shipped}")
    if checked is not None:
        lines.append(
            f"verified: {checked['entries']:,} entries chained and replayed, {checked['accounts']} accounts add up to 0, "
            f"{checked['looked']}"
        )
    if result["live"] is not None:
        lines.append(_LIVE[result["live"]])
    return "\n".join(lines)
