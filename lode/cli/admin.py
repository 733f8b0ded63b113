"""Serve the admin API: customers, keys, prices, invoices, audit over HTTP, for whoever has the role. Needs no model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lode.cli.options import add_books, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8001, help="TCP port (default: 8001); 0 takes a free one")
    parser.add_argument(
        "--access", type=Path, metavar="FILE", help="how people log in (default: access.toml in runs; without: keys only)"
    )
    parser.add_argument("--pepper-file", type=Path, metavar="FILE", help="what keys are hashed with (default: pepper in runs)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until SIGTERM or Ctrl-C. Lines for the person who starts it go to stderr."""
    from lode.core.packages import missing

    try:
        from lode.app.admin.running import admin
        from lode.app.admin.service import AdminOptions
    except ModuleNotFoundError as error:
        raise missing("admin", error) from None
    options = AdminOptions(host=args.host, port=args.port)
    return admin(runs_folder(args), options, _tell, books=args.books, access=args.access, pepper_file=args.pepper_file)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def show(result: dict[str, Any]) -> str:
    """What was answered."""
    return f"{result['requests']} requests in {result['seconds']:.0f} s. Stopped."
