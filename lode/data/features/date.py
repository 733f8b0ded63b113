"""Dates and times: a trend and cycles for networks, calendar parts for trees. Read lode/data/contracts.py first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import ClassVar, Literal

import numpy as np
import polars as pl

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

    Networks get a scaled trend and month, weekday, day and (where training has times) hour as cycles; a missing date is all
    zeros, with a flag beside it where training had any.

    Args:
        slashes: how to read 03/04/2024. Without it such a cell is rejected, for nobody can know.
    """

    kind: ClassVar[Literal["datetime"]] = "datetime"
    expects: ClassVar[str] = "a date such as 2024-01-31 or 2024-01-31T12:30:00Z"

    def __init__(self, *, slashes: Literal["month/day/year", "day/month/year"] | None = None) -> None:
        self.slashes = slashes
        formats = _FORMATS if slashes is None else (*_FORMATS, _SLASHES[slashes])
        self._patterns = [f"^{pattern}{_TIME}$" for pattern in formats]
        self._compiled = [re.compile(pattern[1:-1]) for pattern in self._patterns]
        self._center_us, self._spread_us = 0.0, 0.0
        self._has_hours = self._has_missing = False

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
        _, month, day, weekday, hour = _calendar(microseconds)
        cycles = [(month - 1, 12), (weekday, 7), (day - 1, 31)]
        if self._has_hours:
            cycles.append((hour, 24))
        for place, (position, period) in enumerate(cycles):
            array[:, 1 + 2 * place : 3 + 2 * place] = _CYCLES[period][position]
        if missing is not None:
            array[missing] = 0.0
        if self._has_missing:
            array[:, -1] = 0.0 if missing is None else missing
        return array

    def inverse(self, array: np.ndarray) -> pl.Series:
        microseconds = np.rint(self._center_us + array[:, 0].astype(np.float64) * self._spread_us).astype(np.int64)
        moments = pl.Series(microseconds.view("M8[us]")).cast(_TYPE)
        if self._has_missing:
            moments = moments.zip_with(pl.Series(array[:, -1] < 0.5), pl.Series([None], dtype=_TYPE))
        return moments

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("float32", (7 + 2 * self._has_hours + self._has_missing,))

    @property
    def flat_spec(self) -> FlatSpec:
        names = ("days", "year", "month", "day", "weekday", *(("hour",) if self._has_hours else ()))
        return FlatSpec(names, (0,) * len(names))

    def flat(self, column: pl.Series) -> np.ndarray:
        microseconds, missing = _physical(column)
        year, month, day, weekday, hour = _calendar(microseconds)
        parts = [microseconds / _DAY_US, year, month, day, weekday, *((hour,) if self._has_hours else ())]
        matrix = np.stack(parts, axis=1).astype(np.float32)
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


_CYCLES = {period: _cycle(period) for period in (7, 12, 24, 31)}


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
