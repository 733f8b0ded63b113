"""Microseconds that rating one request takes, by kind of charge, as the books' writer does it: best of 7 rounds.

python benchmarks/rating_speed.py
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from lode.app.prices.plan import make
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import Tariff

TIERS = [{"up_to": 1000, "price": "0.01"}, {"up_to": 100_000, "price": "0.007", "flat": "5"}, {"price": "0.003"}]
CHARGES: dict[str, dict[str, Any]] = {
    "standard": {"price": "0.0015", "unit": "rows"},
    "tokens": {"input": "0.15", "cached": "0.075", "output": "0.60", "per": 1_000_000},
    "standard, free units": {"type": "standard", "price": "0.0015", "unit": "rows", "free": 1000},
    "graduated": {"unit": "rows", "tiers": TIERS},
    "volume": {"unit": "rows", "tiers": TIERS},
    "package": {"unit": "rows", "price": "5", "size": 1000},
    "percentage": {"rate": "0.015", "fixed": "0.10"},
    "cost_plus": {"markup": "0.2", "floor": "0.0001"},
}
USED = {
    "requests": 1, "rows": 37, "input_tokens": 900, "cached_tokens": 300, "output_tokens": 60, "provider_cost": 12_345_678_901,
    "transaction_value": 49_990_000_000_000,
}  # fmt: skip
AIM_US = 5.0


def rating_us(options: dict[str, Any], word: str, repeats: int = 20_000) -> float:
    findings: list[Any] = []
    plan = make({"name": "p", "version": 1, "currency": "EUR", "charges": [{"name": "c", "type": word, **options}]}, findings)
    assert plan is not None, findings
    tariff = Tariff(plan, Subscription("sub_0123456789abcdef", "acme", "p", 1, "EUR", 0), "m")
    period = tariff.period(1_790_000_000_000_000)
    before = dict.fromkeys(tariff.names(period), 54_321)
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(repeats):
            tariff.rate(before, USED, period)
        best = min(best, time.perf_counter() - started)
    return best / repeats * 1e6


def main() -> int:
    found = {name: rating_us(dict(options), options.get("type", name.split(",")[0])) for name, options in CHARGES.items()}
    holds = all(found[name] <= AIM_US for name in ("standard", "tokens"))
    done = "pass" if holds else "FAIL"
    shown = ", ".join(f"{name} {figure:.2f}" for name, figure in found.items())
    load = os.getloadavg()[0]
    print(f"rating, us per request: {shown}; aim {AIM_US:g} for standard and tokens: {done}, load {load:.1f}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
