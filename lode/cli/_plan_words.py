"""Figures of a plan in words: amounts of memory, counts, spans of time, money; and a table of plain lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COUNTS = ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_SPANS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def count(number: float) -> str:
    """12345678 -> "12.3 M"."""
    return next((f"{number / unit:.3g} {word}" for unit, word in _COUNTS if number >= unit), f"{number:.3g}")


def amount(size: float) -> str:
    """Bytes -> "1.2 GiB"."""
    return next((f"{size / unit:.3g} {word}" for unit, word in _BYTES if size >= unit), f"{size:.0f} bytes")


def span(seconds: float) -> str:
    """Seconds -> "1.9 h"."""
    return next((f"{seconds / unit:.3g} {word}" for unit, word in _SPANS if seconds >= unit), f"{seconds * 1e6:.3g} us")


def money(band: Mapping[str, Any]) -> str:
    """A band of money -> "2.07 to 3.10 USD"."""
    return f"{band['low']:,.2f} to {band['high']:,.2f} {band['currency']}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; the first to the left, figures to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    sides = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return ["  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip() for row in rows]
