"""Billing periods: half-open, beginning at midnight of an anchor day in the contract's time zone; exact in UTC microseconds.

The anchor is stored, not the last date: 31 means the last day of a short month and the 31st again afterwards. Where
midnight does not exist (clocks put forward, Samoa's skipped day), the period begins at the first moment after it.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from lode.core.errors import BillingError, near_miss

Unit = Literal["day", "week", "month", "year"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """[start_us, end_us). label: its start, ISO 8601 in UTC; names it in counters and on usage.

    whole_start_us, whole_end_us: the period of the calendar that it is cut from by a change of plan, a trial or an end; proration
    divides by that. trial: whether it is given away.
    """

    start_us: int
    end_us: int
    label: str
    whole_start_us: int
    whole_end_us: int
    trial: bool = False

    def is_of_one(self, other: Period) -> bool:
        """Whether both are cut from the same period of the calendar."""
        return (self.whole_start_us, self.whole_end_us) == (other.whole_start_us, other.whole_end_us)

    def cut(self, start_us: int, end_us: int, *, trial: bool = False) -> Period:
        """The part of it within [start_us, end_us)."""
        start, end = max(self.start_us, start_us), min(self.end_us, end_us)
        assert start < end
        return Period(start, end, label_of(start), self.whole_start_us, self.whole_end_us, trial)


def label_of(at_us: int) -> str:
    """`2026-11-01T00:00:00Z`; with six decimals where the second is not whole."""
    at = moment(at_us)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{at.microsecond:06d}Z" if at.microsecond else "Z")


def moment(at_us: int) -> datetime:
    """Microseconds since 1970 as a UTC time, exactly."""
    return _EPOCH + timedelta(microseconds=at_us)


def micros(at: datetime) -> int:
    """A time with a zone as microseconds since 1970 UTC, exactly."""
    return (at.astimezone(UTC) - _EPOCH) // _US


@cache  # to list the zones walks through the file system; names that are none are not kept
def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Errors: BillingError with the near miss."""
    known = available_timezones()
    if name not in known:
        raise BillingError(
            f'zone: found "{name}", allowed: an IANA time zone such as Europe/Berlin.{near_miss(name, known)} Correct it.'
        )
    return ZoneInfo(name)


def local_date(at_us: int, zone: str) -> date:
    """The calendar day at a moment in a zone."""
    return moment(at_us).astimezone(ZoneInfo(zone)).date()


def period_of(at_us: int, anchor_day: int, zone: str, unit: Unit = "month", anchor_month: int = 1) -> Period:
    """The period that a moment falls into: exactly one.

    anchor_day: 1..31 (month, year), 1..7 from Monday (week), unused for days. anchor_month: 1..12 (year).
    """
    day = local_date(at_us, zone)
    index = _index(day, unit)
    while _start(index, anchor_day, anchor_month, unit, zone) > at_us:
        index -= 1
    while _start(index + 1, anchor_day, anchor_month, unit, zone) <= at_us:
        index += 1
    start, end = (_start(place, anchor_day, anchor_month, unit, zone) for place in (index, index + 1))
    return Period(start, end, label_of(start), start, end)


def _index(day: date, unit: Unit) -> int:
    """The ordinal of a calendar month, year, week or day: where to look first."""
    if unit == "month":
        return day.year * 12 + day.month - 1
    if unit == "year":
        return day.year
    return (day.toordinal() - 1) // 7 if unit == "week" else day.toordinal()


@lru_cache(maxsize=4096)
def _start(index: int, anchor_day: int, anchor_month: int, unit: Unit, zone: str) -> int:
    """When the period with an ordinal begins, microseconds since 1970 UTC."""
    if unit == "month":
        day = _clipped(index // 12, index % 12 + 1, anchor_day)
    elif unit == "year":
        day = _clipped(index, anchor_month, anchor_day)
    else:
        day = date.fromordinal(index * 7 + anchor_day if unit == "week" else index)  # ordinal 1 is a Monday
    return micros(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)))


def _clipped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))
