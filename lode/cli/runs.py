"""List runs: what was run when, how far it came, what it found."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.lineage import list_runs

    return {"runs": list_runs(runs_folder(args))}


def show(result: dict[str, Any]) -> str:
    if not result["runs"]:
        return "no runs yet. Start one: lode run"
    lines = []
    for row in result["runs"]:
        lines.append(f"{row['started']}  {row['status']:<11}  {row['id']:<40}  {' > '.join(row['stages'])}")
        if row["headline"]:
            lines.append(f"    {row['headline']}")
    return "\n".join(lines)
