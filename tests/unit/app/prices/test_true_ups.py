"""Minimums and commitments: `max(0, C * active / whole - eligible)`, by exact microseconds, against rationals that know no lode."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lode.app.invoices import closing
from lode.app.prices import lines
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import counter
from lode.core.money import UNIT
from tests.unit.app.invoices.world import made
from tests.unit.app.prices.test_tariff import plan_of

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu")
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = st.integers(0, 400 * 86_400)


def us(at: datetime) -> int:
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def date(at_us: int, zone: str) -> object:
    return datetime.fromtimestamp(at_us // 10**6, ZoneInfo(zone)).date()


def months(zone: str, day: int) -> list[tuple[int, int]]:
    """The contract's months from 2025 to 2028, [start, end): midnight of the anchor day, or of a shorter month's last."""
    starts = []
    for year in (2025, 2026, 2027, 2028):
        for month in range(1, 13):
            first = min(day, calendar.monthrange(year, month)[1])
            starts.append(us(datetime(year, month, first, tzinfo=ZoneInfo(zone))))
    return list(pairwise(starts))


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES), day=st.sampled_from((1, 15, 29, 31)), cuts=st.lists(SECONDS, min_size=3, max_size=3, unique=True),
    eligible=st.integers(0, 60 * UNIT), share=st.sampled_from(("1", "0.25")), extra=st.integers(0, 999_999),
)  # fmt: skip
def test_true_ups_of_a_contract_that_starts_changes_and_ends_at_any_moment(
    zone: str, day: int, cuts: list[int], eligible: int, share: str, extra: int
) -> None:
    start, change, end = (us(YEAR + timedelta(seconds=cut, microseconds=extra)) for cut in sorted(cuts))
    charges: list[dict[str, Any]] = [{"name": "calls", "type": "standard", "price": "1"}]
    promised = {"a": 50 * UNIT, "b": 80 * UNIT}
    total: dict[str, Fraction] = {"a": Fraction(0), "b": Fraction(0)}
    for name, since, until in (("a", start, change), ("b", change, end)):
        plan = plan_of(*charges, {"name": "c", "type": "commitment", "amount": f"{promised[name] // UNIT}", "share": share})
        held = Subscription(name, "o", "p", 1, "EUR", since, until, zone=zone, anchor_day=day, began_us=start)
        for period in held.periods(end):
            counted = {counter(word, name, period.label, "calls"): eligible for word in ("amount", "quantity")}
            (due,) = [line for line in lines.closing(plan, held, period, counted) if line.kind == "true_up"] or [None]
            total[name] += Fraction(due.amount) if due else 0
    expected: dict[str, Fraction] = {"a": Fraction(0), "b": Fraction(0)}
    for name, since, until in (("a", start, change), ("b", change, end)):
        for first, last in months(zone, day):
            # Who begins on the first day of a period has a whole one.
            whole = last - start if start >= first and date(start, zone) == date(first, zone) else last - first
            active = min(last, until) - max(first, since)
            if active > 0:
                expected[name] += max(Fraction(0), Fraction(promised[name] * active, whole) - eligible) * Fraction(share)
    assert total == expected


def test_a_promise_for_a_year_is_billed_month_by_month_and_trued_up_at_its_end(tmp_path: Path) -> None:
    """No charge of its own: a plan by year, `lode bill --interim` each month; a contract of half a year promised half."""
    text = (
        'name = "team"\nversion = 1\ncurrency = "EUR"\nperiod = "year"\nanchor = "01-01"\n'
        '[[charges]]\nname = "requests"\ntype = "standard"\nprice = "10"\n'
        '[[charges]]\nname = "promise"\ntype = "commitment"\namount = "3650"\n'
    )
    world = made(tmp_path, text)  # on 1 November: 61 of 365 days are left
    bills = []
    for month, count in (("2026-11-30", 3), ("2026-12-30", 5)):
        world.turn(month)
        world.use(count)
        bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, interim=True)["issued"]
    world.turn("2027-01-05")
    bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(body["kind"], body["total"]) for body in bills] == [("interim", "30"), ("interim", "50"), ("period", "530")]
    assert [line["kind"] for line in bills[-1]["lines"]] == ["true_up"] and world.sum() == 0


@pytest.mark.parametrize("word", ["minimum", "commitment"])
def test_what_was_reached_costs_nothing_more(word: str) -> None:
    plan = plan_of({"name": "calls", "type": "standard", "price": "1"}, {"name": "c", "type": word, "amount": "5"})
    held = Subscription("s", "o", "p", 1, "EUR", us(YEAR))
    period = held.period(us(YEAR))
    for eligible, missing in ((5 * UNIT, None), (5 * UNIT - 1, 1), (0, 5 * UNIT)):
        counted = {counter("amount", "s", period.label, "calls"): eligible}
        found = [line.amount for line in lines.closing(plan, held, period, counted) if line.kind == "true_up"]
        assert found == ([] if missing is None else [missing])
