"""List packaged models: names, versions, which one is in production."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="only this model")
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.catalog import Catalog

    catalog = Catalog(runs_folder(args))
    if args.name is not None:
        catalog.version(args.name)
    return {"artifacts": catalog.artifacts(args.name)}


def show(result: dict[str, Any]) -> str:
    if not result["artifacts"]:
        return "no models yet. Make one: lode run"
    lines = []
    for row in result["artifacts"]:
        mark = "production" if row["production"] else ""
        lines.append(f"{row['name']:<24} version {row['version']:<4} {row['hash'][:16]}  {row['created']}  {mark}".rstrip())
        if row["headline"]:
            lines.append(f"    {row['headline']}")
    return "\n".join(lines)
