"""Pictures of a model's page as inline SVG, of numbers and escaped words only. Every one of them stands beside its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

BLUE, ORANGE, GREY, PALE = "#2f6690", "#d1603d", "#8a8f98", "#c9d7e3"
_WIDTH, _LABEL, _ROW = 640, 190, 24


def rivals(entries: Sequence[Mapping[str, Any]]) -> Markup:
    """The model's lead over each other policy, per decision, with its 95 % interval."""
    ends = [(float(entry["low"]), float(entry["difference"]), float(entry["high"])) for entry in entries]
    place = _scale([value for three in ends for value in three])
    drawn = [_zero(place, len(entries))]
    for row, (entry, (low, middle, high)) in enumerate(zip(entries, ends, strict=True)):
        y = row * _ROW + 12
        drawn += [_words(_LABEL - 8, y + 4, entry["name"]), _line(place(low), y, place(high), y, BLUE, 3)]
        drawn.append(f'<circle cx="{place(middle):.1f}" cy="{y}" r="5" fill="{BLUE}"/>')
    return _frame(len(entries), drawn, "Lead of the model over each simple policy, with its 95 % interval; the line is 0.")


def tornado(bars: Sequence[Mapping[str, str]], middle: float) -> Markup:
    """What the present value becomes when one input changes."""
    ends = [(float(bar["low"]), float(bar["high"])) for bar in bars]
    place = _scale([middle, *(value for pair in ends for value in pair)])
    drawn = []
    for row, (bar, (low, high)) in enumerate(zip(bars, ends, strict=True)):
        y = row * _ROW + 4
        drawn.append(_words(_LABEL - 8, y + 12, f"{bar['input']} {bar['step']}"))
        drawn += [_box(place(middle), place(low), y, ORANGE), _box(place(middle), place(high), y, BLUE)]
    drawn.append(_line(place(middle), 0, place(middle), len(bars) * _ROW, GREY, 1))
    return _frame(len(bars), drawn, "Present value when one input takes its low (orange) and its high (blue) value.")


def cohorts(lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Decisions of each month: outcomes known, and pending."""
    most = max((line["decisions"] for line in lines), default=0) or 1
    drawn, width = [], _WIDTH - _LABEL - 60
    for row, line in enumerate(lines):
        y, known = row * _ROW + 4, line["decisions"] - line["pending"]
        end = _LABEL + width * known / most
        drawn += [_words(_LABEL - 8, y + 12, line["month"]), _box(_LABEL, end, y, BLUE)]
        drawn.append(_box(end, end + width * line["pending"] / most, y, PALE))
        drawn.append(_words(_LABEL + width * line["decisions"] / most + 6, y + 12, f"{line['decisions']:,}", "start"))
    return _frame(len(lines), drawn, "Decisions by month: with an outcome (dark) and without one yet (pale).")


def _scale(values: Sequence[float]) -> Any:
    low, high = min([0.0, *values]), max([0.0, *values])
    step = (_WIDTH - _LABEL - 20) / ((high - low) or 1.0)
    return lambda value: _LABEL + (value - low) * step


def _zero(place: Any, rows: int) -> str:
    return _line(place(0.0), 0, place(0.0), rows * _ROW, GREY, 1)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _box(start: float, end: float, y: float, colour: str) -> str:
    left, width = min(start, end), abs(end - start)
    return f'<rect x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="16" fill="{colour}"/>'


def _words(x: float, y: float, words: str, anchor: str = "end") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="13">{escape(words)}</text>'


def _frame(rows: int, drawn: Sequence[str], alt: str) -> Markup:
    height = max(rows, 1) * _ROW
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(alt)}">'
    return Markup(head + "".join(drawn) + "</svg>")
