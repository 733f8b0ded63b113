"""Prove that nobody changed the books: verify the audit log, make signed checkpoints of it, show what happened."""

from __future__ import annotations

import argparse
import time
from typing import Any

from lode.cli.options import add_books, runs_folder

EPILOG = """actions:
  verify       count every entry's hash again, and compare balances, documents, usage and counters with a replay
  checkpoint   print or store the journal's length and last hash, signed: keep it where this machine cannot write
  show         the entries, newest last"""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "what", choices=("verify", "checkpoint", "show"), metavar="ACTION", help="verify, checkpoint or show: see below"
    )
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="PLACE",
        help="verify: a checkpoint's file, or a folder or url of them; may be repeated (default: RUNS/checkpoints where there is one)",
    )  # fmt: skip
    parser.add_argument("--public-key", metavar="FILE", help="verify: the key that must have signed them (default: RUNS/audit.pub)")
    parser.add_argument("--chain", action="store_true", help="verify: only the chain, not what follows from it")
    parser.add_argument(
        "-o", "--output", metavar="PLACE", help="checkpoint: a file that ends with .json, a folder, or a url of fsspec"
    )
    parser.add_argument("--organisation", default="", metavar="NAME", help="show: of this customer")
    parser.add_argument("--actor", default="", metavar="WHO", help="show: done by user:..., key:..., cli, system")
    parser.add_argument("--kind", default="", metavar="WORD", help="show: key, key.create, invoice, ...")
    parser.add_argument("--from", dest="after", metavar="TIME", help="show: from 2026-11-01 or 2026-11-01T09:00:00Z on")
    parser.add_argument("--to", dest="before", metavar="TIME", help="show: until then; not included")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="show: the newest N (default: 100)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Do it. Errors: AuditError, with the first bad entry, where anything is not what was written."""
    if args.what == "show":
        return _show(args)
    from lode.core.packages import missing

    try:
        from lode.app.audit import command
    except ModuleNotFoundError as error:
        raise missing("audit", error) from None
    runs = runs_folder(args)
    if args.what == "checkpoint":
        return command.make(runs, args.books, args.output, time.time_ns() // 1000)
    return command.check(runs, args.books, args.checkpoint, args.public_key, chain_only=args.chain)


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from lode.app.audit.entries import Wanted, at, entries
    from lode.app.audit.evidence import evidence

    wanted = Wanted(
        args.organisation, args.actor, args.kind, at(args.after, "--from") if args.after else None,
        at(args.before, "--to") if args.before else None, args.limit,
    )  # fmt: skip
    with evidence(args.books, runs_folder(args)) as session:
        return {"entries": entries(session, wanted)}


def show(result: dict[str, Any]) -> str:
    """For people."""
    if "entries" in result and isinstance(result["entries"], list):
        from lode.app.audit.entries import line

        return "\n".join(line(entry) for entry in result["entries"]) or "no entry"
    if "text" in result:
        return f"checkpoint of entry {result['sequence']}: {result['stored']}" if result["stored"] else str(result["text"]).rstrip()
    checked = f"{result['checkpoints']} checkpoints agree" if result["checkpoints"] else "no checkpoint to compare with"
    return (
        f"{result['entries']:,} entries are what was written, to {result['hash'][:16]} of {result['at']}\n"
        f"{result['compared']}; {checked} ({result['seconds']:.1f} s)"
    )
