"""Read, clean, split and store the data, and look at its quality (the first stage)."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lode.cli import _snapshots as snapshots
from lode.cli import _stages as stages

_FIGURES = ("missing", "distinct", "power")
_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


def add(parser: argparse.ArgumentParser) -> None:
    stages.add(parser)
    snapshots.add(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    found = snapshots.run(args)
    if found is not None:
        return found
    result = stages.run(args, "data")
    from lode.pipeline.quality import read, table

    profile, _ = read(result["stages"]["data"]["folder"])
    result["quality"] = {"profile": profile, "findings": result["findings"], "table": table(profile)}
    return result


def show(result: dict[str, Any]) -> str:
    """A line for each column, what was found, and where to look."""
    if "quality" not in result:
        return snapshots.show(result)
    quality = result["quality"]
    more = len(quality["profile"]["columns"]) - len(quality["table"]) + 1
    lines = [_table(quality["table"])]
    if more > 0:
        lines.append(f"and {more:,} more columns, see quality.html")
    lines += ["", *(_finding(item) for item in quality["findings"])] if quality["findings"] else []
    page = f"{result['runs']}/runs/{result['run']}/quality.html"
    return "\n".join([*lines, "", f"quality   {page}", stages.show(result)])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Plain lines; on a terminal one that fits its width."""
    if sys.stdout.isatty():
        return _drawn(rows)
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _drawn(rows: Sequence[tuple[str, ...]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(rows[0]):
        # Figures are never cut; names and words are where the terminal is narrow.
        width = max(len(row[place]) for row in rows) if name in _FIGURES else None
        made.add_column(name, overflow="ellipsis", no_wrap=True, min_width=width, justify="right" if width else "left")
    for row in rows[1:]:
        made.add_row(*(Text(cell) for cell in row))
    console = Console(file=io.StringIO(), force_terminal=True, width=Console().width)
    with console.capture() as captured:
        console.print(made)
    return captured.get().rstrip()


def _finding(item: Mapping[str, Any]) -> str:
    from rich.console import Console
    from rich.text import Text

    from lode.pipeline.pictures import label

    words = label(f"{item['finding']}: {item['text']} {item['advice']}", 400)
    if not sys.stdout.isatty():
        return f"{item['severity']:<8} {words}"
    console = Console(file=io.StringIO(), force_terminal=True, width=Console().width)
    with console.capture() as captured:
        console.print(Text.assemble((f"{item['severity']:<8} ", _COLOURS[item["severity"]]), words))
    return captured.get().rstrip()
