"""Periods: half-open, in the contract's zone, from an anchor that is not forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lode.app.prices.periods import Period, local_date, micros, moment, period_of, zone_of
from lode.app.prices.subscription import Subscription
from lode.core.errors import BillingError

HOUR = 3_600_000_000


def us(text: str, zone: str = "UTC") -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def days(period: Period, zone: str) -> tuple[str, str]:
    return str(local_date(period.start_us, zone)), str(local_date(period.end_us, zone))


def test_the_31st_means_the_last_day_and_comes_back() -> None:
    at = us("2026-01-31T00:00:00")
    found = []
    for _ in range(5):
        period = period_of(at, 31, "UTC")
        found.append(days(period, "UTC")[0])
        at = period.end_us
    assert found == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


def test_february_29_of_a_yearly_contract() -> None:
    starts = [days(period_of(us(f"{year}-07-01T00:00:00"), 29, "UTC", "year", 2), "UTC")[0] for year in (2023, 2024, 2025, 2028)]
    assert starts == ["2023-02-28", "2024-02-29", "2025-02-28", "2028-02-29"]


def test_days_of_23_and_25_hours_are_as_long_as_they_are() -> None:
    lengths = {
        day: period_of(us(f"2026-{day}T12:00:00", "Europe/Berlin"), 1, "Europe/Berlin", "day")
        for day in ("03-29", "07-01", "10-25")
    }
    assert [(period.end_us - period.start_us) // HOUR for period in lengths.values()] == [23, 24, 25]
    half = period_of(us("2026-04-05T12:00:00", "Australia/Lord_Howe"), 1, "Australia/Lord_Howe", "day")
    assert (half.end_us - half.start_us) / HOUR == 24.5


def test_a_boundary_belongs_to_the_later_period() -> None:
    start = us("2026-03-01T00:00:00", "Europe/Berlin")
    assert days(period_of(start - 1, 1, "Europe/Berlin"), "Europe/Berlin") == ("2026-02-01", "2026-03-01")
    assert days(period_of(start, 1, "Europe/Berlin"), "Europe/Berlin") == ("2026-03-01", "2026-04-01")


def test_a_midnight_that_does_not_exist_is_the_first_moment_after_it() -> None:
    zone = "America/Havana"  # clocks went from 00:00 to 01:00 on 2026-03-08
    period = period_of(us("2026-03-08T12:00:00", zone), 8, zone)
    assert moment(period.start_us).astimezone(ZoneInfo(zone)).isoformat() == "2026-03-08T01:00:00-04:00"


def test_the_day_that_samoa_left_out_holds_nothing() -> None:
    zone = "Pacific/Apia"
    before, after = us("2011-12-29T23:59:59", zone), us("2011-12-31T00:00:00", zone)
    assert after - before == 1_000_000
    first, second = (period_of(at, 1, zone, "day") for at in (before, after))
    assert first.end_us == second.start_us == after
    assert period_of(after, 30, zone).start_us == after


def test_weeks_begin_on_the_anchor() -> None:
    assert days(period_of(us("2026-11-22T12:00:00"), 1, "UTC", "week"), "UTC") == ("2026-11-16", "2026-11-23")
    assert days(period_of(us("2026-11-22T12:00:00"), 7, "UTC", "week"), "UTC") == ("2026-11-22", "2026-11-29")


@given(
    at=st.integers(us("1990-01-01T00:00:00"), us("2037-01-01T00:00:00")),
    zone=st.sampled_from(["UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo", "America/Asuncion"]),
    unit=st.sampled_from(["day", "week", "month", "year"]),
    anchor=st.integers(1, 31),
)
def test_every_moment_lies_in_exactly_one_period(at: int, zone: str, unit: str, anchor: int) -> None:
    anchor = (anchor - 1) % 7 + 1 if unit == "week" else anchor
    found = period_of(at, anchor, zone, unit)  # type: ignore[arg-type]
    assert found.start_us <= at < found.end_us
    assert period_of(found.start_us - 1, anchor, zone, unit).end_us == found.start_us  # type: ignore[arg-type]
    assert period_of(found.end_us, anchor, zone, unit).start_us == found.end_us  # type: ignore[arg-type]


def test_a_zone_that_does_not_exist_is_named() -> None:
    with pytest.raises(BillingError, match=r'found "Europe/Berlinn".*Did you mean "Europe/Berlin"'):
        zone_of("Europe/Berlinn")
    for wrong in ("", "../../etc/passwd", "CEST"):
        with pytest.raises(BillingError, match="IANA"):
            zone_of(wrong)


def test_a_subscription_cuts_its_periods() -> None:
    since, trial, until = us("2026-01-10T12:00:00"), us("2026-01-24T12:00:00"), us("2026-04-01T00:00:00")
    held = Subscription("s", "o", "p", 1, "EUR", since, until, "UTC", "month", 24, 1, trial, began_us=trial)
    found = held.periods(us("2027-01-01T00:00:00"))
    assert [(str(moment(period.start_us)), period.trial) for period in found] == [
        ("2026-01-10 12:00:00+00:00", True), ("2026-01-24 00:00:00+00:00", True), ("2026-01-24 12:00:00+00:00", False),
        ("2026-02-24 00:00:00+00:00", False), ("2026-03-24 00:00:00+00:00", False),
    ]  # fmt: skip
    assert all(early.end_us == late.start_us for early, late in pairwise(found)) and found[-1].end_us == until
    first_paid, last = found[2], found[-1]
    assert first_paid.whole_start_us == trial, "a first month that begins on the anchor's day is a whole one"
    assert (last.end_us - last.start_us, last.whole_end_us - last.whole_start_us) == (8 * 24 * HOUR, 31 * 24 * HOUR)
    assert held.planned(until - 1).end_us == us("2026-04-24T00:00:00")
    assert found[0].label == "2026-01-10T12:00:00Z" and datetime.now(UTC) > moment(0)
