"""Make a version of a model the one in production."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="model name")
    parser.add_argument("version", nargs="?", type=int, help="version (default: the latest)")
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.lineage import promote

    return promote(runs_folder(args), args.name, args.version)


def show(result: dict[str, Any]) -> str:
    if result["before"] == result["version"]:
        return f"{result['name']}: version {result['version']} is in production already"
    now = f"{result['name']}: version {result['version']} is in production now (before: {result['before']})."
    return f"{now} Running servers keep theirs until restarted."
