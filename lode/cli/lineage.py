"""Show how a model came about, back to the hash of the raw bytes."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_runs, runs_folder


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="model name")
    parser.add_argument("--version", type=int, help="version (default: the one in production)")
    parser.add_argument(
        "--row", type=int, metavar="N", help="a row (`__row__`): its cells, what cleaners did to them, and its raw bytes"
    )
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.lineage import lineage, row_lineage

    found = lineage(runs_folder(args), args.name, args.version)
    return found if args.row is None else {**found, "row": row_lineage(runs_folder(args), args.name, args.row, args.version)}


def _label(text: str, limit: int) -> str:
    from lode.pipeline.pictures import label

    return label(text, limit)


def show(result: dict[str, Any]) -> str:
    """The model's stages and raw files, or where one row came from."""
    who = f"{result['name']} version {result['version']}  hash {result['hash']}"
    return f"{who}\n{_row(result['row'])}" if "row" in result else _model(result)


def _row(found: dict[str, Any]) -> str:
    where = f"in {found['split']}" if found["split"] else "dropped by a cleaner or by the split"
    lines = [f"  row {found['row']:,}  {where}  (snapshot {found['snapshot'][:16]})"]
    lines += [f"    {_label(name, 40)} = {_cell(cell)}" for name, cell in found["cells"].items()]
    for change in found["changes"]:
        what = (
            "the row was dropped"
            if change["column"] is None
            else f"{_label(change['column'], 40)}: {_cell(change['before'])} -> {_cell(change['after'])}"
        )
        lines.append(f"  {change['cleaner']:<12} {what} ({_label(change['why'], 80)})")
    raw = found["raw"]
    return "\n".join([*lines, f"  raw       {raw['sha256']}  {raw['path']}, row {raw['position']:,} of it (from 0)"])


def _cell(value: Any) -> str:
    return "empty" if value is None else _label(str(value), 80)


def _model(result: dict[str, Any]) -> str:
    lines = [f"{result['name']} version {result['version']}  hash {result['hash']}", f"  run {result['run']}"]
    lines += [
        f"  {entry['stage']:<9} {entry['key'][:16]}  {entry['started']}  {entry['seconds']:.1f} s  seed {entry['seed']}"
        for entry in reversed(result["stages"])
    ]
    lines += [f"  asks      {entry}" for entry in result.get("providers", ())]
    if "snapshot" not in result:  # somebody else's model
        return "\n".join(lines)
    rows = ", ".join(f"{name} {count:,}" for name, count in result["rows"].items())
    lines.append(f"  snapshot  {result['snapshot'][:16]}  {rows}")
    lines += [f"  raw       {entry['sha256']}  {entry['path']} ({entry['bytes']:,} bytes)" for entry in result["raw"]]
    return "\n".join(lines)
