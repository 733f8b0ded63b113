"""The learning curve in words and on the page of the report; `lode/pipeline/curve.py` measures it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lode.pipeline import pictures
from lode.pipeline.page import Block, drawn, heading, note, table, text
from lode.pipeline.wording import alike, interval

_NOTE = (
    "Each model was fitted as if there had been no other rows, and judged on the same test rows. The forecast takes further rows to be "
    "like these. Its interval is of the test rows and of the rows drawn to learn from; it is no promise."
)


def sentence(curve: Mapping[str, Any], decisions: int | None) -> str:
    """What twice the rows are expected to bring, in the first output's metric and in money. decisions: over which a model is used."""
    first, paid = next(iter(curve["outputs"].values())), curve["money"]
    gain = first["gain"]
    if gain is None:
        return "There are too few rows to tell what more of them would bring."
    if not _is_told(gain):
        return f"{first['title']} is undefined at some size, so nothing tells what more rows would bring."
    said = f"Twice the rows ({gain['rows']:,} more) are expected to bring {_signed(gain)} {first['title']}"
    if not first["higher_is_better"]:
        said += " less"
    if paid is None:
        return f"{said}: {_verdict(gain)}."
    money = paid["gain"]
    said += f" and {_signed(money)} {paid['currency']} per 1,000 decisions: {_verdict(money)}."
    if decisions is None:
        return said
    share = decisions / 1000 / money["rows"]
    row = {key: share * money[key] for key in ("value", "low", "high")}
    return f"{said} Over {decisions:,} decisions a further row is worth {_signed(row)} {paid['currency']}."


def blocks(curve: Mapping[str, Any]) -> list[Block]:
    """What the section "Would more data help?" shows."""
    found = [text(curve["sentence"])]
    for name, record in curve["outputs"].items():
        found += [heading(name)] if len(curve["outputs"]) > 1 else []
        found += _drawn(record, record["title"])
    if curve["money"] is not None:
        found += _drawn(curve["money"], f"{curve['money']['currency']} per 1,000 decisions")
    return [*found, *(note(words) for words in curve["notes"]), note(_NOTE)]


def _drawn(record: Mapping[str, Any], title: str) -> list[Block]:
    points = record["points"]
    rows = [[f"{point['rows']:,}", point["fits"], interval(point)] for point in points]
    if _is_told(record["gain"]):
        rows.append([f"{2 * points[-1]['rows']:,}, expected", 0, f"{_signed(record['gain'])} better"])
    shown = table(["rows to learn from", "fits", title], rows, numeric=(0, 1, 2))
    found = [shown]
    if _is_told(record["last"]):
        last = {"value": record["last"]["measured"], "low": record["last"]["low"], "high": record["last"]["high"]}
        said, brought = _signed(record["last"]), alike(*last.values())[0]
        found.append(
            text(f"A check: from the smaller sizes alone the last doubling was expected to bring {said}; it brought {brought}.")
        )
    known = [(float(point["rows"]), float(point["value"])) for point in points if point["value"] is not None]
    if len(known) < 2:
        return found
    lines = {"measured": ([x for x, _ in known], [y for _, y in known])}
    if _is_told(record["gain"]):
        step = record["gain"]["value"] if record["higher_is_better"] else -record["gain"]["value"]
        lines["expected"] = ([known[-1][0], 2 * known[-1][0]], [known[-1][1], known[-1][1] + step])
    return [*found, drawn((f"{title} by the number of rows", pictures.lines(lines, "rows to learn from", title, "Learning curve")))]


def _is_told(gain: Mapping[str, Any] | None) -> bool:
    """Not of too few sizes, and of sizes at which the metric is defined."""
    return gain is not None and gain["value"] is not None and math.isfinite(gain["value"])


def _signed(gain: Mapping[str, Any]) -> str:
    value, low, high = alike(gain["value"], gain["low"], gain["high"])
    return f"{value if value.startswith('-') else '+' + value} ({low} to {high})"


def _verdict(gain: Mapping[str, Any]) -> str:
    if gain["low"] is not None and gain["low"] > 0:
        return "more rows would help"
    return "more rows would harm" if gain["high"] is not None and gain["high"] < 0 else "not surely more than nothing"
