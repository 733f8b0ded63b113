"""Forecast against actual, figure by figure. Pure: mappings of numbers in, rows of a table out.

A forecast is what `Forecast.to_json` gives; an actual is a mapping with any of the same figures, as numbers. What either lacks is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIGURES: Mapping[str, tuple[str, str]] = {
    "parameters": ("parameters", ""),
    "steps": ("steps at most", ""),
    "flops": ("operations at most", "FLOP"),
    "peak_memory_bytes": ("peak memory", "bytes"),
    "step_seconds": ("a step", "s"),
    "seconds": ("training (forecast: its steps alone)", "s"),
    "money": ("computing", ""),
}
"""Figure -> what it is called and its unit, in the order of the table."""


def reconcile(forecast: Mapping[str, Any], actual: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each figure that both have: {"figure", "unit", "forecast", "low", "high", "actual", "error", "within"}.

    low, high: the forecast's band, None where it is one number. error: how far the actual figure lies from the forecast, as a share of
    the actual one; None where that is 0. within: whether it lies in the band; None without a band.
    """
    rows = []
    for name, (title, unit) in FIGURES.items():
        said, found = forecast.get(name), actual.get(name)
        if said is None or found is None:
            continue
        band = said if isinstance(said, Mapping) else {}
        middle, value = float(band.get("middle", 0.0) if band else said), float(found)
        low, high = band.get("low"), band.get("high")
        rows.append(
            {
                "figure": title,
                "unit": str(band.get("currency") or unit),
                "forecast": middle,
                "low": low,
                "high": high,
                "actual": value,
                "error": (middle - value) / value if value else None,
                "within": None if low is None or high is None else bool(low <= value <= high),
            }
        )
    return rows
