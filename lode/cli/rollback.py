"""Go back to the version that was in production before."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli import promote
from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="model name")
    parser.add_argument("version", nargs="?", type=int, help="version (default: the one before the present one)")
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.lineage import rollback

    return rollback(runs_folder(args), args.name, args.version)


def show(result: dict[str, Any]) -> str:
    return promote.show(result)
