"""Random plans x usages against exact rationals written from the formulas alone (T18), and events over 10 years x 40 time zones.

    python benchmarks/rating_oracle.py [--plans 100000] [--events 500] [--seed 0]

The oracle shares no code with lode: it reads the plan's document, counts in `Fraction`s from the formulas of the reference
(application-layer.md, 6.2), and rounds nothing. Prints two lines; exits 1 where one mismatch is found.
"""

from __future__ import annotations

import argparse
import calendar
import json
import math
import os
import random
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from lode.app.prices import lines
from lode.app.prices.periods import Period, period_of
from lode.app.prices.plan import Plan, make
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import Tariff

TRILLION = 10**12
ZONES = (
    "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Lisbon", "Europe/Moscow", "Europe/Istanbul", "Europe/Volgograd",
    "Africa/Cairo", "Africa/Casablanca", "Africa/Lagos", "Africa/Johannesburg", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran",
    "Asia/Kabul", "Asia/Yangon", "Asia/Tokyo", "Asia/Pyongyang", "Asia/Shanghai", "Asia/Beirut", "Asia/Amman", "Asia/Gaza",
    "Asia/Colombo", "Australia/Lord_Howe", "Australia/Adelaide", "Australia/Sydney", "Australia/Eucla", "Pacific/Apia",
    "Pacific/Fakaofo", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Marquesas", "America/St_Johns", "America/New_York",
    "America/Sao_Paulo", "America/Havana", "America/Caracas", "America/Asuncion", "America/Santiago", "America/Scoresbysund",
)  # fmt: skip
"""Clocks put forward at midnight (Cairo, Beirut, Amman, Sao Paulo, Havana, Asuncion), half hours, Samoa's skipped day."""

FIRST_US = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp()) * 10**6
LAST_US = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 10**6


# The oracle --------------------------------------------------------------------------------------------------------------


def exact(text: Any) -> Fraction:
    return Fraction(Decimal(str(text)))


def standard(c: dict[str, Any], u: int) -> Fraction:
    return max(0, u - c.get("free", 0)) * exact(c["price"]) / c.get("per", 1)


def graduated(c: dict[str, Any], u: int) -> Fraction:
    total, below = Fraction(0), 0
    for number, tier in enumerate(c["tiers"]):
        above = min(u, tier.get("up_to", u))
        total += max(0, above - below) * exact(tier.get("price", 0)) / c.get("per", 1)
        touched = u > below or (number == 0 and bool(c.get("flat_at_zero")))
        total += exact(tier.get("flat", 0)) if touched else 0
        below = tier.get("up_to", u)
    return total


def volume(c: dict[str, Any], u: int) -> Fraction:
    if u == 0 and not c.get("flat_at_zero"):
        return Fraction(0)
    tier = next(tier for tier in c["tiers"] if u <= tier.get("up_to", u))
    return u * exact(tier.get("price", 0)) / c.get("per", 1) + exact(tier.get("flat", 0))


def package(c: dict[str, Any], u: int) -> Fraction:
    return math.ceil(Fraction(max(0, u - c.get("free", 0)), c["size"])) * exact(c["price"])


def tokens(c: dict[str, Any], u: dict[str, int]) -> Fraction:
    fresh = u.get("input_tokens", 0) - u.get("cached_tokens", 0)
    total = fresh * exact(c["input"]) + u.get("cached_tokens", 0) * exact(c.get("cached", c["input"]))
    total += u.get("output_tokens", 0) * exact(c["output"]) + u.get("cache_write_tokens", 0) * exact(c.get("cache_write", 0))
    return (total + u.get("reasoning_tokens", 0) * exact(c.get("reasoning", 0))) / c["per"]


def percentage(c: dict[str, Any], u: dict[str, int]) -> Fraction:
    unit = c.get("unit", "transaction_value")
    base = Fraction(u.get(unit, 0), TRILLION if unit in ("transaction_value", "provider_cost") else 1)
    each = max(exact(c.get("minimum", 0)), base * exact(c["rate"]) + exact(c.get("fixed", 0)))
    return min(each, exact(c["maximum"])) if "maximum" in c else each


def cost_plus(c: dict[str, Any], u: dict[str, int]) -> Fraction:
    cost = Fraction(u.get("provider_cost", 0), TRILLION) * exact(c.get("exchange", 1))
    return max(exact(c.get("floor", 0)), cost * (1 + exact(c["markup"])))


SUMS = {"standard": standard, "graduated": graduated, "volume": volume, "package": package}
EACH = {"percentage": percentage, "cost_plus": cost_plus}


def owed(c: dict[str, Any], events: list[dict[str, int]]) -> Fraction:
    """What a charge of usage costs in a period, with its flat at zero and its cap."""
    if c["type"] in SUMS:
        total = SUMS[c["type"]](c, sum(event.get(c.get("unit", "requests"), 0) for event in events))
    elif c["type"] == "tokens":
        total = sum((tokens(c, event) for event in events), Fraction(0))
    else:
        total = sum((EACH[c["type"]](c, event) for event in events), Fraction(0))
    return min(total, exact(c["cap"])) if "cap" in c else total


def true_up(c: dict[str, Any], eligible: Fraction, share: Fraction) -> Fraction:
    return max(Fraction(0), exact(c["amount"]) * share - eligible) * exact(c.get("share", 1))


# Random plans ------------------------------------------------------------------------------------------------------------


def amount(g: random.Random) -> str:
    places = g.choice((0, 1, 2, 2, 3, 4, 6, 9, 12))
    digits = g.choice((1, 9, 99, 1000, 10**6))
    return format(Decimal(g.randint(0, digits)).scaleb(-places), "f")


def tiers(g: random.Random) -> list[dict[str, Any]]:
    ends = sorted(g.sample(range(1, g.choice((12, 200, 5000))), g.randint(0, 4)))
    made: list[dict[str, Any]] = [{"up_to": end, "price": amount(g)} for end in ends] + [{"price": amount(g)}]
    for tier in made:
        if g.random() < 0.3:
            tier["flat"] = amount(g)
    return made


def charge(g: random.Random, word: str, name: str) -> dict[str, Any]:
    unit, made = g.choice(("requests", "rows", "compute_us")), {"name": name, "type": word}
    if word == "standard":
        made |= {"price": amount(g), "unit": unit, "per": g.choice((1, 1, 3, 7, 1000, 10**6)), "free": g.choice((0, 0, 5, 100))}
    elif word in ("graduated", "volume"):
        made |= {"tiers": tiers(g), "unit": unit, "per": g.choice((1, 1, 3, 1000)), "flat_at_zero": g.random() < 0.5}
    elif word == "package":
        made |= {"price": amount(g), "size": g.choice((1, 2, 7, 10, 1000)), "unit": unit, "free": g.choice((0, 0, 3, 50))}
    elif word == "tokens":
        made |= {"input": amount(g), "output": amount(g), "per": g.choice((1, 1000, 10**6))}
        made |= {key: amount(g) for key in ("cached", "cache_write", "reasoning") if g.random() < 0.5}
    elif word == "percentage":
        made |= {"rate": amount(g), "unit": g.choice(("transaction_value", "provider_cost", "rows"))}
        made["rate"] = str(min(Decimal(made["rate"]), Decimal(1000)))
        made |= {key: amount(g) for key in ("fixed", "minimum") if g.random() < 0.5}
        if g.random() < 0.5:
            made["maximum"] = format(Decimal(made.get("minimum", "0")) + Decimal(amount(g)), "f")
    else:
        made |= {"markup": g.choice(("0", "0.2", "0.333333")), "floor": amount(g)}
        if g.random() < 0.5:
            made |= {"exchange": g.choice(("0.921", "1.000001", "150")), "provider_currency": "USD"}
    if word != "volume" and g.random() < 0.3:
        made["cap"] = amount(g)
    return made


def document(g: random.Random) -> dict[str, Any]:
    words = g.choices((*SUMS, *EACH, "tokens"), k=g.randint(1, 3))
    made = {"name": "p", "version": 1, "currency": "EUR", "charges": [charge(g, word, f"c{n}") for n, word in enumerate(words)]}
    for word in ("minimum", "commitment"):
        if g.random() < 0.3:
            made["charges"].append(
                {"name": word, "type": word, "amount": amount(g)} | ({"share": "0.5"} if word == "commitment" else {})
            )
    if "volume" not in words and g.random() < 0.2:
        made["cap"] = amount(g)
    return made


def event(g: random.Random) -> dict[str, int]:
    size = g.choice((0, 1, 1, 2, 10, 100, 3000))
    counted = ("rows", "input_tokens", "output_tokens", "cache_write_tokens", "reasoning_tokens", "compute_us")
    made = {unit: g.randint(0, size) for unit in counted}
    made |= {"cached_tokens": g.randint(0, made["input_tokens"]), "requests": 1}
    return made | {unit: g.randint(0, 10 ** g.choice((3, 9, 12, 15))) for unit in ("provider_cost", "transaction_value")}


# The comparison ----------------------------------------------------------------------------------------------------------


def rate_all(
    plan: Plan, events: list[dict[str, int]], subscription: Subscription, period: Period
) -> tuple[dict[str, int], list[str]]:
    """Counters after all events, in portions as they came; and steps that fell or passed what was reserved."""
    tariff, counters, wrong = Tariff(plan, subscription, "m"), {}, []  # type: ignore[var-annotated]
    falls = {item.name for item in plan.charges if item.type == "volume"}
    for used in events:
        before = {name: counters[name] for name in tariff.names(period) if name in counters}
        rated = tariff.rate(before, used, period)
        exact, known = (tariff.bound(used, period.label, before, later=later) for later in (False, True))
        unseen = tariff.most(used, period.label)
        if not rated.amount <= exact <= known <= unseen:
            wrong.append(f"reserved {exact} where others wait, {known} else, {unseen} unseen; costs {rated.amount}")
        wrong += [f"{name} fell by {-cost}" for name, cost in rated.charges.items() if cost < 0 and name not in falls]
        for name, change in rated.counters.items():
            counters[name] = counters.get(name, 0) + change
    return counters, wrong


def compare(written: dict[str, Any], events: list[dict[str, int]], part: Fraction) -> list[str]:
    """What differs between lode and the oracle for one plan and its usage."""
    findings: list[Any] = []
    plan = make(written, findings)
    if plan is None:
        return [f"refused: {findings[0]}"]
    subscription = Subscription("s", "o", "p", 1, "EUR", 0)
    whole = 30 * 86_400_000_000
    period = Period(0, int(part * whole), "1970-01-01T00:00:00Z", 0, whole)
    counters, wrong = rate_all(plan, events, subscription, period)
    found = lines.closing(plan, subscription, period, counters)
    usage = [c for c in written["charges"] if c["type"] not in ("minimum", "commitment")]
    wanted: dict[tuple[str, str], Fraction] = {}
    for c in usage:
        wanted["", c["name"]] = Fraction(math.floor(owed(c, events) * TRILLION))
    eligible = sum(wanted.values(), Fraction(0)) / TRILLION
    for c in written["charges"]:
        if c not in usage:
            wanted["", c["name"]] = true_up(c, eligible, part) * TRILLION
    total = sum(wanted.values(), Fraction(0))
    if "cap" in written:
        total = min(total, exact(written["cap"]) * TRILLION)
    for (_, name), sum_ in wanted.items():
        got = sum((line.amount for line in found if line.name == name), Fraction(0))
        if got != sum_:
            wrong.append(f"{name}: {got} instead of {sum_}")
    if sum((line.amount for line in found), Fraction(0)) != total:
        wrong.append(f"lines add up to {sum(line.amount for line in found)} instead of {total}")
    return wrong


def check_plans(count: int, seed: int) -> tuple[int, list[str]]:
    wrong: list[str] = []
    rated = 0
    for number in range(count):
        g = random.Random(seed * 10**9 + number)
        written, events = document(g), [event(g) for _ in range(g.randint(0, 8))]
        part = Fraction(g.randint(1, 30), 30) if g.random() < 0.5 else Fraction(1)
        found = compare(written, events, part)
        rated += len(events)
        wrong += [f"plan {number}: {text} {json.dumps(written)}" for text in found]
    return rated, wrong


# Periods -----------------------------------------------------------------------------------------------------------------


def anchor_date(day: date, anchor: int, month: int, unit: str) -> date:
    """The last anchor day that is not after a calendar day: by walking back, a day at a time."""
    while True:
        last = calendar.monthrange(day.year, day.month)[1]
        if unit == "day" or (unit == "week" and day.isoweekday() == anchor):
            return day
        if day.day == min(anchor, last) and (unit == "month" or (unit == "year" and day.month == month)):
            return day
        day -= timedelta(days=1)


def local(at_us: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone))


def check_event(at_us: int, zone: str, unit: Any, anchor: int, month: int) -> str | None:
    """Its period holds it, touches its neighbours without gap or overlap, and begins with the first moment of an anchor day."""
    found = period_of(at_us, anchor, zone, unit, month)
    if not found.start_us <= at_us < found.end_us:
        return "is not in its period"
    for place in (found.start_us, found.end_us - 1):
        if period_of(place, anchor, zone, unit, month) != found:
            return "has a period whose own edge lies in another"
    if period_of(found.end_us, anchor, zone, unit, month).start_us != found.end_us:
        return "has a gap behind its period"
    began = local(found.start_us, zone).date()
    wanted = anchor_date(began, anchor, month, unit)
    skipped = {began - timedelta(days=n) for n in (0, 1)} if zone in ("Pacific/Apia", "Pacific/Fakaofo") else {began}
    if wanted not in skipped or local(found.start_us - 1, zone).date() >= began:
        return f"has a period that begins at {local(found.start_us, zone)}"
    return None


def chain(g: random.Random, zone: str, unit: Any, anchor: int, month: int) -> list[Subscription]:
    """A contract that changes its plan at random moments."""
    cuts = sorted({FIRST_US, *(g.randrange(FIRST_US, LAST_US) for _ in range(g.randint(0, 6)))})
    ends = [*cuts[1:], None]
    trial = FIRST_US + g.choice((0, 14, 30)) * 86_400_000_000
    return [
        Subscription(f"s{n}", "o", "p", n + 1, "EUR", start, end, zone, unit, anchor, month, trial if trial > start else 0)
        for n, (start, end) in enumerate(zip(cuts, ends, strict=True))
    ]


def check_periods(events: int, seed: int, zones: tuple[str, ...] = ZONES) -> tuple[int, list[str]]:
    """Every event on exactly one period of exactly one subscription."""
    wrong, count = [], 0
    for zone in zones:
        g = random.Random(f"{seed} {zone}")
        unit, anchor, month = g.choice(("day", "week", "month", "year")), 0, g.randint(1, 12)
        for unit in ("day", "week", "month", "year"):
            anchor = g.randint(1, 7) if unit == "week" else g.choice((1, 15, 28, 29, 30, 31))
            anchor = min(anchor, 29 if month == 2 else 30) if unit == "year" else anchor
            contract = chain(g, zone, unit, anchor, month)
            invoices = [period for item in contract for period in item.periods(LAST_US)]
            edges = [period.start_us + shift for period in g.sample(invoices, min(40, len(invoices))) for shift in (-1, 0, 1)]
            for at_us in [g.randrange(FIRST_US, LAST_US) for _ in range(events)] + edges:
                if FIRST_US <= at_us < LAST_US:
                    count += 1
                    text = check_event(at_us, zone, unit, anchor, month)
                    own = [item.period(at_us) for item in contract if item.covers(at_us)]
                    if len(own) != 1 or sum(period.start_us <= at_us < period.end_us for period in invoices) != 1:
                        text = f"is on {len(own)} subscriptions"
                    wrong += [f"{zone} {unit} {anchor}: {at_us} {text}"] if text else []
    return count, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=500, help="for each of 40 zones and 4 lengths of period")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    rated, wrong = check_plans(args.plans, args.seed)
    load = os.getloadavg()[0]
    print(
        f"rating oracle: {args.plans} plans, {rated} usages, {len(wrong)} mismatches, {'pass' if not wrong else 'FAIL'}, "
        f"{time.monotonic() - started:.0f} s, load {load:.1f}",
        flush=True,
    )
    started = time.monotonic()
    count, astray = check_periods(args.events, args.seed)
    print(
        f"periods: {count} events, 10 years x {len(ZONES)} zones x 4 lengths, {len(astray)} not on exactly one invoice, "
        f"{'pass' if not astray else 'FAIL'}, {time.monotonic() - started:.0f} s, load {os.getloadavg()[0]:.1f}"
    )
    for text in (wrong + astray)[:10]:
        print(text, file=sys.stderr)
    return 1 if wrong or astray else 0


if __name__ == "__main__":
    sys.exit(main())
