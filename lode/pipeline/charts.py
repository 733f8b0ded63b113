"""Small pictures as inline SVG, made of numbers and escaped words only: hundreds of columns cost milliseconds, nothing to fetch.

Called by lode/pipeline/quality.py. The report's pictures, drawn with matplotlib, are in lode/pipeline/pictures.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lode.pipeline.pictures import BLUE, GREY, INK, ORANGE, label

COLOURS = (BLUE, ORANGE, "#4f8a4b", "#7a5aa6", "#b8860b", "#2a8a8a", "#a04668", "#6b6f76")
"""Of classes, in their order."""
_WIDTH, _HEIGHT, _BASE = 300, 120, 104
_ROW, _LABEL_WIDTH = 16, 120
_NUM_WORDS = 12


def histogram(edges: Sequence[float], rows: Mapping[str, Sequence[int]], low: str, high: str) -> Markup:
    """Share of each part's rows in each bin: training filled, test as a line. low, high: what the ends of the axis are called."""
    shares = {part: _shares(counts) for part, counts in rows.items()}
    most = max((share for part in shares.values() for share in part), default=0.0) or 1.0
    step = _WIDTH / max(len(edges) - 1, 1)
    bars = [
        _rect(place * step, _BASE - 96 * share / most, max(step - 0.5, 0.5), 96 * share / most, BLUE)
        for place, share in enumerate(shares["train"])
        if share
    ]
    line = "" if not any(shares.get("test", ())) else _steps(shares["test"], most, step)
    ends = _text(0, 117, low) + _text(_WIDTH, 117, high, "end")
    return _svg(
        _WIDTH,
        _HEIGHT,
        "".join(bars) + line + _axis() + ends,
        f"Distribution from {low} to {high}; training filled, test as a line.",
    )


def _steps(shares: Sequence[float], most: float, step: float) -> str:
    points = []
    for place, share in enumerate(shares):
        y = _BASE - 96 * share / most
        points += [f"{place * step:.1f},{y:.1f}", f"{(place + 1) * step:.1f},{y:.1f}"]
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{ORANGE}" stroke-width="1.3"/>'


def words(entries: Sequence[Mapping[str, Any]], totals: Mapping[str, int]) -> Markup:
    """Share of the rows with each of the most frequent words: training filled, test as a mark."""
    shown = list(entries)[:_NUM_WORDS]
    parts = [part for part in ("train", "test", "sample") if shown and part in shown[0]["rows"]]
    shares = [{part: entry["rows"][part] / max(totals.get(part, 0), 1) for part in parts} for entry in shown]
    most = max((share for item in shares for share in item.values()), default=0.0) or 1.0
    drawn, width = [], _WIDTH - _LABEL_WIDTH - 44
    for place, (entry, share) in enumerate(zip(shown, shares, strict=True)):
        y = place * _ROW
        first = share.get("train", share.get("sample", 0.0))
        drawn.append(_text(_LABEL_WIDTH - 6, y + 12, label(entry["value"], 18), "end"))
        drawn.append(_rect(_LABEL_WIDTH, y + 3, width * first / most, 10, BLUE))
        if "test" in share:
            drawn.append(_rect(_LABEL_WIDTH + width * share["test"] / most - 1, y + 1, 2, 14, ORANGE))
        drawn.append(
            _text(
                _LABEL_WIDTH + width * max(share.values()) / most + 5,
                y + 12,
                _percent(first) if "train" in share else f"{entry['rows']['sample']:,}",
            )
        )
    return _svg(_WIDTH, max(len(shown), 1) * _ROW, "".join(drawn), "Most frequent: training filled, test as a mark.")


def relation(record: Mapping[str, Any]) -> Markup:
    """The target in each bin of a column: a mean as a bar, classes as shares of one bar; the number of rows beside it."""
    bins = record["bins"][:_NUM_WORDS]
    is_number = record["measure"] == "r2"
    means = [item["mean"] for item in bins] if is_number else []
    low, high = min([0.0, *means]), max([0.0, *means])
    drawn, width = [], _WIDTH - _LABEL_WIDTH - 44
    for place, item in enumerate(bins):
        y = place * _ROW
        name = "(missing)" if item["bin"] is None else label(item["bin"], 18)
        drawn.append(_text(_LABEL_WIDTH - 6, y + 12, name, "end"))
        if is_number:
            zero = _LABEL_WIDTH + width * (0.0 - low) / ((high - low) or 1.0)
            end = _LABEL_WIDTH + width * (item["mean"] - low) / ((high - low) or 1.0)
            drawn.append(_rect(min(zero, end), y + 3, abs(end - zero), 10, BLUE))
            drawn.append(_text(_WIDTH - 40, y + 12, f"{item['mean']:.3g}"))
            continue
        x = float(_LABEL_WIDTH)
        for code, share in _class_order(item["shares"]):
            drawn.append(_rect(x, y + 3, width * share, 10, COLOURS[code % len(COLOURS)]))
            x += width * share
        drawn.append(_text(_WIDTH - 40, y + 12, _percent(item["shares"][-1]) if len(item["shares"]) == 2 else f"{item['rows']:,}"))
    what = "mean of the target" if is_number else "classes of the target"
    return _svg(_WIDTH, max(len(bins), 1) * _ROW, "".join(drawn), f"By value of this column: {what}.")


def _class_order(shares: Sequence[float]) -> list[tuple[int, float]]:
    """Of two classes the positive one stands first, in the stronger colour."""
    if len(shares) == 2:
        return [(0, shares[1]), (7, shares[0])]
    return list(enumerate(shares))


def missing_map(blocks: Mapping[str, Sequence[float]]) -> Markup:
    """One strip a column, from the first row to the last; the darker, the more cells are empty."""
    drawn, width = [], 560
    for place, (name, shares) in enumerate(blocks.items()):
        y, step = place * _ROW, width / max(len(shares), 1)
        drawn.append(_text(194, y + 12, label(name, 28), "end"))
        drawn.append(_rect(200, y + 2, width, 12, "#eef1f4"))
        drawn += [_rect(200 + index * step, y + 2, step + 0.2, 12, INK, share) for index, share in enumerate(shares) if share]
    return _svg(770, max(len(blocks), 1) * _ROW, "".join(drawn), "Where cells are empty, from the first row to the last.")


def classes(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Share of each class in each part."""
    parts = ("train", "validation", "test")
    totals = {part: sum(rows.get(part, 0) for rows in counts.values()) for part in parts}
    drawn, place = [], 0
    for part in parts:
        if not totals[part]:
            continue
        y, x = place * 22, 100.0
        drawn.append(_text(94, y + 14, part, "end"))
        for code, (_, rows) in enumerate(counts.items()):
            share = rows.get(part, 0) / totals[part]
            drawn.append(_rect(x, y + 3, 560 * share, 14, COLOURS[code % len(COLOURS)]))
            x += 560 * share
        place += 1
    return _svg(680, max(place, 1) * 22, "".join(drawn), "Share of each class in each part.")


def swatch(code: int) -> str:
    """The colour of a class."""
    return COLOURS[code % len(COLOURS)]


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _axis() -> str:
    return f'<line x1="0" y1="{_BASE}" x2="{_WIDTH}" y2="{_BASE}" stroke="{GREY}"/>'


def _rect(x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> str:
    more = "" if opacity >= 1 else f' fill-opacity="{opacity:.3f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{colour}"{more}/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return str(Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, words))


def _svg(width: float, height: float, inside: str, alt: str) -> Markup:
    """inside: elements made by this file, words already escaped."""
    frame = Markup('<svg viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" role="img" aria-label="{alt}">')
    return frame.format(w=width, h=height, alt=alt) + Markup(inside) + Markup("</svg>")
