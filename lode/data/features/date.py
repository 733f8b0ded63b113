"""Dates and times: a trend and cycles for networks, calendar parts for trees. Read lode/data/contracts.py first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.types import FlatSpec, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State

_NAMES = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTHS = {name[:3]: number for number, name in enumerate(_NAMES, start=1)}
_YEAR, _MONTH, _DAY = "(?P<year>[1-9][0-9]{3})", "(?P<month>[0-9]{1,2})", "(?P<day>[0-9]{1,2})"
# Both cases are spelt out: a case-insensitive pattern takes more than ASCII for a letter.
_ANY_CASE = ["".join(f"[{letter.upper()}{letter}]" for letter in name) for name in (*_NAMES, "sept", *_MONTHS)]
_NAME = f"(?P<name>{'|'.join(_ANY_CASE)})[.]?"
_TIME = (
    "(?:[T ](?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    " ?(?P<zone>[zZ]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_FORMATS = (
    f"{_YEAR}-{_MONTH}-{_DAY}",
    f"{_YEAR}/{_MONTH}/{_DAY}",
    f"{_YEAR}\u5e74{_MONTH}\u6708{_DAY}\u65e5",
    f"{_DAY}[.]{_MONTH}[.]{_YEAR}",
    f"{_DAY}[ -]{_NAME}[ -]{_YEAR}",
    f"{_NAME} {_DAY},? {_YEAR}",
)
_SLASHES = {"month/day/year": f"{_MONTH}/{_DAY}/{_YEAR}", "day/month/year": f"{_DAY}/{_MONTH}/{_YEAR}"}
_PARTS = ("year", "month", "name", "day", "hour", "minute", "second", "fraction", "zone")

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_YEAR_US = 365.2425 * _DAY_US
_TYPE = pl.Datetime("us")
_FIRST_US = int(np.datetime64("1000-01-01", "us").astype(np.int64))
_LAST_US = int(np.datetime64("9999-12-31T23:59:59.999999", "us").astype(np.int64))
_MAX_TREND = 10.0


class Date(Feature):
    """A day or a moment, in UTC: 2024-01-31, 2024-01-31T12:30:00Z, 2024/1/31, 31.01.2024, 31 Jan 2024. Years 1000 to 9999.

    Networks get a scaled trend and cycles; a missing date is all zeros, with a flag beside it where training had any.

    Args:
        slashes: how to read 03/04/2024. Without it such a cell is rejected, for nobody can know.
        cycles: what runs in circles, as sine and cosine; without it month, weekday, day and (where training has times) hour for
            networks only. Those that are written here baselines get too.
        parts: numbers of the calendar for baselines, "days" since 1970 among them; without it days, year, month, day, weekday and
            (where training has times) hour.
        reference: a day such as 2024-01-31; the years from the date to that day join the parts, and their logarithm what networks see.
    """

    kind: ClassVar[Literal["datetime"]] = "datetime"
    expects: ClassVar[str] = "a date such as 2024-01-31 or 2024-01-31T12:30:00Z"

    def __init__(
        self,
        *,
        slashes: Literal["month/day/year", "day/month/year"] | None = None,
        cycles: list[Literal["month", "weekday", "day", "hour"]] | None = None,
        parts: list[Literal["days", "year", "quarter", "month", "week", "day", "weekday", "weekend", "yearday", "hour", "minute"]]
        | None = None,
        reference: str | None = None,
    ) -> None:
        self.slashes = slashes
        self.cycles = None if cycles is None else list(dict.fromkeys(cycles))
        self.parts = None if parts is None else list(dict.fromkeys(parts))
        formats = _FORMATS if slashes is None else (*_FORMATS, _SLASHES[slashes])
        self._patterns = [f"^{pattern}{_TIME}$" for pattern in formats]
        self._compiled = [re.compile(pattern[1:-1]) for pattern in self._patterns]
        self._center_us, self._spread_us = 0.0, 0.0
        self._has_hours = self._has_missing = False
        self._reference_us = None if reference is None else self._day_us(reference)

    def _day_us(self, text: str) -> int:
        """Microseconds since 1970 of an option. Errors: DataError where it is no date."""
        moment = self.parse(pl.Series([text]))
        if moment.has_nulls():
            raise DataError(f'date: reference: found "{text}", allowed: {self.expects}. Write a day.')
        return int(moment.to_physical()[0])

    def parse(self, column: pl.Series) -> pl.Series:
        if column.dtype == pl.Object:
            column = cells.object_strings(column)
        dtype = column.dtype
        if dtype == pl.String:
            few = len(column) <= cells.FEW_ROWS
            return self._parse_few(column) if few else self._parse_many(column)
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            return _in_range(column if dtype == _TYPE else _utc_microseconds(column))
        return pl.Series(column.name, [None] * len(column), dtype=_TYPE)

    def _parse_few(self, column: pl.Series) -> pl.Series:
        return pl.Series(column.name, [self._parse_one(cell) for cell in column.to_list()], dtype=_TYPE)

    def _parse_one(self, cell: str | None) -> datetime | None:
        text = cell.strip(cells.BLANKS) if cell else ""
        for pattern in self._compiled:
            if found := pattern.fullmatch(text):
                return _moment(found.groupdict())
        return None

    def _parse_many(self, column: pl.Series) -> pl.Series:
        microseconds = np.full(len(column), np.iinfo(np.int64).min, dtype=np.int64)
        texts = column.str.strip_chars(cells.BLANKS)
        left = np.flatnonzero(texts.is_not_null().to_numpy())
        for pattern in self._patterns:
            if not len(left):
                break
            found = texts.gather(left).str.extract_groups(pattern)
            hit = found.struct.field("day").is_not_null()
            here = hit.to_numpy()
            microseconds[left[here]] = _moments(found.filter(hit).struct.unnest())
            left = left[~here]
        moments = pl.Series(column.name, microseconds.view("M8[us]")).cast(_TYPE)
        return _in_range(moments)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        known = column.drop_nulls().to_physical().to_numpy()
        self._has_missing = len(known) < len(column)
        self._has_hours = bool((known % _DAY_US).any())
        self._center_us = float(known.mean(dtype=np.float64)) if len(known) else 0.0
        self._spread_us = float(known.std(dtype=np.float64)) if len(known) else 0.0

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        microseconds, missing = _physical(column)
        array = np.zeros((len(column), self.spec.shape[0]), dtype=np.float32)
        if self._spread_us:
            trend = (microseconds - self._center_us) / self._spread_us
            array[:, 0] = np.clip(trend, -_MAX_TREND, _MAX_TREND)
        turns, place = self._turns, 1
        if turns:
            positions = _positions(microseconds)
            for word in turns:
                array[:, place : place + 2] = _CYCLES[word][positions[word]]
                place += 2
        if self._reference_us is not None:
            age = self._age(microseconds)
            array[:, place] = np.copysign(np.log1p(np.abs(age)), age)
        if missing is not None:
            array[missing] = 0.0
        if self._has_missing:
            array[:, -1] = 0.0 if missing is None else missing
        return array

    @property
    def _turns(self) -> Sequence[str]:
        """The cycles, in the order of the array."""
        if self.cycles is not None:
            return self.cycles
        return ("month", "weekday", "day", "hour") if self._has_hours else ("month", "weekday", "day")

    @property
    def _numbers(self) -> Sequence[str]:
        """The parts, in the order of `flat`."""
        if self.parts is not None:
            return self.parts
        return ("days", "year", "month", "day", "weekday", *(("hour",) if self._has_hours else ()))

    def _age(self, microseconds: np.ndarray) -> np.ndarray:
        """Years from the date to the reference, float64 (N,); negative where the date is later."""
        return np.asarray(((self._reference_us or 0) - microseconds) / _YEAR_US)

    def inverse(self, array: np.ndarray) -> pl.Series:
        microseconds = np.rint(self._center_us + array[:, 0].astype(np.float64) * self._spread_us).astype(np.int64)
        moments = pl.Series(microseconds.view("M8[us]")).cast(_TYPE)
        if self._has_missing:
            moments = moments.zip_with(pl.Series(array[:, -1] < 0.5), pl.Series([None], dtype=_TYPE))
        return moments

    @property
    def spec(self) -> TensorSpec:
        width = 1 + 2 * len(self._turns) + (self._reference_us is not None) + self._has_missing
        return TensorSpec("float32", (width,))

    @property
    def flat_spec(self) -> FlatSpec:
        waves = [f"{word}_{wave}" for word in self.cycles or () for wave in ("sin", "cos")]
        names = (*self._numbers, *(("age",) if self._reference_us is not None else ()), *waves)
        return FlatSpec(names, (0,) * len(names))

    def flat(self, column: pl.Series) -> np.ndarray:
        microseconds, missing = _physical(column)
        calendar = _calendar(microseconds)
        parts = [_PARTS_OF[word](microseconds, calendar) for word in self._numbers]
        if self._reference_us is not None:
            parts.append(self._age(microseconds))
        if self.cycles:
            positions = _positions(microseconds)
            parts += [wave for word in self.cycles for wave in _CYCLES[word][positions[word]].T]
        matrix = np.stack(parts, axis=1).astype(np.float32) if parts else np.zeros((len(column), 0), np.float32)
        if missing is not None:
            matrix[missing] = np.nan
        return matrix

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        flags = {"has_hours": self._has_hours, "has_missing": self._has_missing}
        return {"center_us": self._center_us, "spread_us": self._spread_us, **flags}

    def restore(self, state: State) -> None:
        self._center_us, self._spread_us = float(state["center_us"]), float(state["spread_us"])
        self._has_hours, self._has_missing = bool(state["has_hours"]), bool(state["has_missing"])


def _cycle(period: int) -> np.ndarray:
    """float32 (period, 2): sine and cosine of each position."""
    angle = 2.0 * np.pi * np.arange(period) / period
    return np.stack((np.sin(angle), np.cos(angle)), axis=1).astype(np.float32)


_CYCLES = {word: _cycle(period) for word, period in (("weekday", 7), ("month", 12), ("hour", 24), ("day", 31))}


def _physical(column: pl.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """int64 (N,) microseconds since 1970 (0 where missing) and bool (N,) missing, or None where nothing is."""
    column = column if column.dtype == _TYPE else _utc_microseconds(column)
    if not column.has_nulls():
        return column.to_physical().to_numpy(), None
    return column.to_physical().fill_null(0).to_numpy(), column.is_null().to_numpy()


def _calendar(microseconds: np.ndarray) -> tuple[np.ndarray, ...]:
    """int64 (N,) each: year, month 1-12, day 1-31, weekday 0-6 from Monday, hour 0-23."""
    days = microseconds // _DAY_US
    months = days.astype("M8[D]").astype("M8[M]")
    month_number = months.astype(np.int64)
    day = days - months.astype("M8[D]").astype(np.int64) + 1
    hour = (microseconds - days * _DAY_US) // (3_600 * _SECOND_US)
    return 1970 + month_number // 12, month_number % 12 + 1, day, (days + 3) % 7, hour


def _positions(microseconds: np.ndarray) -> dict[str, np.ndarray]:
    """Where in its circle each date is, from 0; int64 (N,) each."""
    _, month, day, weekday, hour = _calendar(microseconds)
    return {"month": month - 1, "weekday": weekday, "day": day - 1, "hour": hour}


def _yearday(microseconds: np.ndarray) -> np.ndarray:
    """1 to 366, int64 (N,)."""
    days = microseconds // _DAY_US
    years = days.astype("M8[D]").astype("M8[Y]")
    return np.asarray(days - years.astype("M8[D]").astype(np.int64) + 1)


def _week(microseconds: np.ndarray) -> np.ndarray:
    """The week of ISO 8601, 1 to 53, int64 (N,): that of the year which the week's Thursday is in."""
    days = microseconds // _DAY_US
    thursday = days - (days + 3) % 7 + 3
    return np.asarray((_yearday(thursday * _DAY_US) - 1) // 7 + 1)


_PARTS_OF: Mapping[str, Callable[[np.ndarray, tuple[np.ndarray, ...]], np.ndarray]] = {
    "days": lambda us, calendar: us / _DAY_US,
    "year": lambda us, calendar: calendar[0],
    "quarter": lambda us, calendar: (calendar[1] + 2) // 3,
    "month": lambda us, calendar: calendar[1],
    "week": lambda us, calendar: _week(us),
    "day": lambda us, calendar: calendar[2],
    "weekday": lambda us, calendar: calendar[3],
    "weekend": lambda us, calendar: calendar[3] >= 5,
    "yearday": lambda us, calendar: _yearday(us),
    "hour": lambda us, calendar: calendar[4],
    "minute": lambda us, calendar: us // (60 * _SECOND_US) % 60,
}
"""Each part from the microseconds and what `_calendar` gives, (N,)."""


def _utc_microseconds(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.cast(_TYPE)


def _in_range(column: pl.Series) -> pl.Series:
    """Null where the year is not 1000 to 9999 (and where `_moments` found no date)."""
    microseconds = column.to_physical().drop_nulls().to_numpy()
    if ((microseconds >= _FIRST_US) & (microseconds <= _LAST_US)).all():
        return column
    return column.zip_with(column.to_physical().is_between(_FIRST_US, _LAST_US), pl.Series([None], dtype=_TYPE))


def _moment(parts: Mapping[str, str | None]) -> datetime | None:
    """The moment of one cell; None where its numbers are none (a 13th month)."""
    name, zone = parts.get("name"), parts["zone"]
    month = _MONTHS[name[:3].lower()] if name else int(parts["month"] or 0)
    hour, minute, second = (int(parts[part] or 0) for part in ("hour", "minute", "second"))
    fraction_us = int((parts["fraction"] or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(int(parts["year"] or 0), month, int(parts["day"] or 0), hour, minute, second, fraction_us)
        if zone is None or zone in "zZ":
            return moment
        sign = -1 if zone[0] == "-" else 1
        offset = sign * timedelta(hours=int(zone[1:3]), minutes=_minutes(zone))
        moment = moment.replace(tzinfo=timezone(offset)).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= 1000 else None


def _minutes(zone: str) -> int:
    minutes = int(zone[-2:])
    if minutes > 59:
        raise ValueError(f"no time zone has {minutes} minutes")
    return minutes


def _moments(groups: pl.DataFrame) -> np.ndarray:
    """int64 (N,) microseconds since 1970 of the matched groups; the smallest int64 where the numbers are no date. As `_moment`."""
    texts = {part: groups[part] if part in groups.columns else pl.Series([None] * len(groups), dtype=pl.String) for part in _PARTS}
    numbers = {
        part: texts[part].cast(pl.Int64).fill_null(0).to_numpy() for part in ("year", "month", "day", "hour", "minute", "second")
    }
    if "name" in groups.columns:
        numbers["month"] = texts["name"].str.head(3).str.to_lowercase().replace_strict(_MONTHS, return_dtype=pl.Int64).to_numpy()
    fraction = texts["fraction"].fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).to_numpy()
    zone = texts["zone"].replace({"z": None, "Z": None}).fill_null("+0000")
    zone_hour = zone.str.slice(1, 2).cast(pl.Int64).to_numpy()
    zone_minute = zone.str.slice(-2).cast(pl.Int64).to_numpy()
    sign = np.where(zone.str.starts_with("-").to_numpy(), -1, 1)

    month = np.clip(numbers["month"], 1, 12)
    first = ((numbers["year"] - 1970) * 12 + month - 1).astype("M8[M]")
    num_days = ((first + 1).astype("M8[D]") - first.astype("M8[D]")).astype(np.int64)
    valid = (numbers["month"] == month) & (numbers["day"] >= 1) & (numbers["day"] <= num_days)
    valid &= (numbers["hour"] < 24) & (numbers["minute"] < 60) & (numbers["second"] < 60)
    valid &= (zone_minute < 60) & (zone_hour < 24)

    days = first.astype("M8[D]").astype(np.int64) + numbers["day"] - 1
    minutes = (numbers["hour"] - sign * zone_hour) * 60 + numbers["minute"] - sign * zone_minute
    microseconds = days * _DAY_US + (minutes * 60 + numbers["second"]) * _SECOND_US + fraction
    return np.where(valid, microseconds, np.iinfo(np.int64).min)
