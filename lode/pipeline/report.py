"""The report for people: one HTML file that opens offline and prints, `report.json` beside it, a terminal summary."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lode.pipeline import wording
from lode.pipeline.evaluate import plain
from lode.pipeline.sections import sections
from lode.pipeline.state import write_bytes

SUMMARY_LINES = 25


def render(report: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.json` and `report.html` into the folder; returns the path of the page. Same report, same bytes."""
    record = json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / "report.json", (record + "\n").encode())
    # The page is made from what a reader of report.json gets: what one shows the other has.
    write_bytes(folder / "report.html", html(json.loads(record)).encode())
    return folder / "report.html"


def page(parts: Mapping[str, Any]) -> str:
    """A page of sections. Every word of the data is escaped; pictures are inside; no script, nothing to fetch.

    parts: title, headline, learnt, facts, warnings, sections, footer.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lode.pipeline", package_path=""),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html", "jinja"), default=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=parts)


def html(report: Mapping[str, Any]) -> str:
    """The page of an evaluation."""
    footer = (
        f"Intervals are 95 % bootstrap intervals over the test rows ({report['resamples']:,} resamples, seed {report['seed']}). "
        "A difference between models is paired: both are judged on the same resampled rows. "
        "The same figures, for programs, are in report.json."
    )
    return page(
        {
            "title": f"{report['name']}: evaluation" if report["name"] else "Evaluation",
            "headline": report["headline"],
            "learnt": report["learnt"],
            "facts": _facts(report),
            "warnings": report["warnings"],
            "sections": sections(report),
            "footer": footer,
        }
    )


def summary(report: Mapping[str, Any]) -> str:
    """At most 25 lines of plain ASCII: headline, figures beside the best baseline, warnings."""
    rows = [("", "", "best baseline")]
    for name, record in report["outputs"].items():
        prefix = f"{name}: " if len(report["outputs"]) > 1 else ""
        best = record["against"]["baseline"] if record["against"] else None
        for entry in record["metrics"].values():
            other = f"{wording.interval(entry['baselines'][best])} {best}" if best else "-"
            rows.append((prefix + entry["title"], wording.interval(entry), other))
    widths = [max(len(ascii_line(row[place])) for row in rows) for place in range(3)]
    lines = ["  ".join(ascii_line(part).ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    found = [ascii_line(report["headline"]), "", *lines[: SUMMARY_LINES - 8]]
    warned = [f"warning: {ascii_line(text)}" for text in report["warnings"]]
    room = SUMMARY_LINES - len(found) - 1
    if len(warned) > room:
        warned = [*warned[: room - 1], f"and {len(warned) - room + 1} more warnings, see report.html"]
    return "\n".join([*found, *(["", *warned] if warned else [])])


def ascii_line(text: str) -> str:
    """The words on one line, other scripts escaped: a terminal may know ASCII only."""
    flat = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(char if " " <= char <= "~" else char.encode("ascii", "backslashreplace").decode() for char in flat)


def _facts(report: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{count:,} {split}" for split, count in report["rows"].items() if isinstance(count, int))
    return ". ".join(part for part in (f"Run {report['run']}" if report["run"] else "", f"Rows: {rows}" if rows else "") if part)
