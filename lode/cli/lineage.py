"""Show how a model came about, back to the hash of the raw bytes."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="model name")
    parser.add_argument("--version", type=int, help="version (default: the one in production)")
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.lineage import lineage

    return lineage(runs_folder(args), args.name, args.version)


def show(result: dict[str, Any]) -> str:
    lines = [f"{result['name']} version {result['version']}  hash {result['hash']}", f"  run {result['run']}"]
    lines += [
        f"  {entry['stage']:<9} {entry['key'][:16]}  {entry['started']}  {entry['seconds']:.1f} s  seed {entry['seed']}"
        for entry in reversed(result["stages"])
    ]
    rows = ", ".join(f"{name} {count:,}" for name, count in result["rows"].items())
    lines.append(f"  snapshot  {result['snapshot'][:16]}  {rows}")
    lines += [f"  raw       {entry['sha256']}  {entry['path']} ({entry['bytes']:,} bytes)" for entry in result["raw"]]
    return "\n".join(lines)
