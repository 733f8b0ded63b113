"""Back up the runs folder and the books, encrypted and incremental, while the server runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lode.cli.options import add_books, runs_folder
from lode.core.errors import BackupError
from lode.core.packages import missing


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("target", nargs="?", metavar="TARGET", help="a folder, or a url of fsspec: s3://bucket/folder, ...")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="the key; without it nothing can be restored, so keep a copy elsewhere"
    )
    parser.add_argument("--make-key", type=Path, metavar="FILE", help="write a new key, and do nothing else")
    parser.add_argument(
        "--what",
        metavar="WORDS",
        help="of books, artifacts, settings, stages, with commas (default: all but stages, which can be made again)",
    )
    parser.add_argument("--keep", type=int, metavar="N", help="then remove all snapshots but the newest N (default: keep all)")
    parser.add_argument(
        "--follow", type=float, metavar="SECONDS", help="go on: ship what is new in the journal so often, until stopped"
    )
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make a snapshot, or a key."""
    try:
        from lode.app.backup import command
    except ModuleNotFoundError as error:
        raise missing("backup", error) from None
    if args.make_key is not None:
        return command.make_key(args.make_key)
    if args.target is None:
        raise BackupError("lode backup: found no target. Write lode backup TARGET --key-file FILE, or --make-key FILE.")
    runs = runs_folder(args)
    if args.follow is not None:
        return command.follow(
            args.target, args.key_file, runs, args.books, args.follow, what=args.what, keep=args.keep,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    return command.make(args.target, args.key_file, runs, args.books, what=args.what, keep=args.keep)


def show(result: dict[str, Any]) -> str:
    """For people."""
    if "key_file" in result:
        return (
            f"{result['key_file']}: key {result['key']}. Keep a copy apart from this machine and the backup: nothing else opens it."
        )
    if "rpo_s" in result:
        return f"{result['entries']:,} entries shipped after {result['snapshot']}, recovery point at worst {result['rpo_s']:.1f} s"
    books = result["books"]
    said = f", the books to entry {books['sequence']:,} ({books['hash'][:16]})" if books else ", no books"
    lines = [
        f"snapshot {result['snapshot']}: {result['files']} files, {result['bytes'] / 1e6:,.1f} MB{said}",
        f"stored {result['stored_bytes'] / 1e6:,.2f} MB: {result['new_chunks']:,} of {result['chunks']:,} chunks were new",
    ]
    if result["removed"]:
        lines.append(f"removed {len(result['removed'])} older snapshots")
    return "\n".join(lines)
