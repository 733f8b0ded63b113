"""Dates as people write them: 31/12/2024, 12-31-24, 20241231, Dec 31st 2024 5 pm, Chinese dates, seconds since 1970. Text in, ISO text out.

Whether 03/04/2024 is in March or in April is a property of the column: its cells that leave no doubt decide (`evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import cells

_TIME = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<half>[AaPp]\.?[Mm]\.?)? ?(?P<zone>[zZ]|UTC|GMT|[+-]\d{2}:?\d{2})?)?$"
)
_WEEKDAY = r"^(?:[A-Za-z]{3,9},? +)?"
_YEAR = r"(?P<year>\d{4}|\d{2})"
_NAME = r"(?P<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))[a-z]{0,6}\.?"
_DAY = r"(?P<day>\d{1,2})"
_NUMBERS = r"^(?P<a>\d{1,2})[/.\-](?P<b>\d{1,2})[/.\-]" + _YEAR
_FORMATS = (
    _NUMBERS + _TIME,
    r"^(?P<year>\d{4})[./\-]?(?P<month>\d{2})[./\-]?(?P<day>\d{2})" + _TIME,
    _WEEKDAY + _DAY + r"(?:st|nd|rd|th)?[ \-]*" + _NAME + r"[ ,\-]*" + _YEAR + _TIME,
    _WEEKDAY + _NAME + r" ?" + _DAY + r"(?:st|nd|rd|th)?,? +(?P<year>\d{4})" + _TIME,
    r"^(?P<year>\d{4}|\d{2})\u5e74 ?(?P<month>\d{1,2})\u6708 ?(?P<day>\d{1,2})[\u65e5\u53f7]?" + _TIME,
)
_PARTS = ("year", "month", "name", "day", "hour", "minute", "second", "fraction", "half", "zone", "a", "b")
_EPOCH = r"^-?\d{9,16}$"
_PER_SECOND = {9: 1, 10: 1, 12: 10**3, 13: 10**3, 15: 10**6, 16: 10**6}
"""Digits -> units per second: seconds, milliseconds, microseconds since 1970."""
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_PIVOT = 69
"""Two digits below it are years from 2000, others from 1900 (POSIX strptime)."""
_NONE = pl.Series([None], dtype=pl.String)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Cells with two numbers before the year: how many can only be day first, only month first, or both."""

    day_first: int
    month_first: int
    open: int

    @property
    def verdict(self) -> bool | None:
        """Whether the day comes first; None where nothing says so, or cells speak against each other."""
        most = max(self.day_first, self.month_first)
        if most == 0 or min(self.day_first, self.month_first) > 0.05 * most:
            return None
        return self.day_first > self.month_first


def evidence(texts: pl.Series) -> Evidence:
    """What some different cells of a column say about its order."""
    parts = _plain(texts).to_frame("text").select(pl.col("text").str.extract_groups(_NUMBERS).alias("parts")).unnest("parts")
    a, b = pl.col("a").cast(pl.Int64), pl.col("b").cast(pl.Int64)
    day_first, month_first = (a > 12) & (b <= 12), (a <= 12) & (b > 12)
    both = (a <= 12) & (b <= 12) & (a != b)
    counts = parts.select(day_first.sum().alias("day"), month_first.sum().alias("month"), both.sum().alias("both")).row(0)
    return Evidence(*(int(count or 0) for count in counts))


def mended(texts: pl.Series, day_first: bool | None, always: bool = False) -> pl.Series:
    """Different cells (K,) as dates that the feature `date` reads; null where a cell is none.

    day_first: the column's order; where it is None, a cell that can be read in two ways stays as it stands. always: read dates with
    dots in that order too, which are else read day first.
    """
    plain = _plain(texts)
    as_they_are = _parse(texts).is_not_null()
    if always:
        as_they_are &= ~texts.str.contains(_NUMBERS)
    result, is_open = _NONE.new_from_index(0, len(texts)), pl.Series([False]).new_from_index(0, len(texts))
    for number, pattern in enumerate(_FORMATS):
        parts = plain.to_frame("text").select(pl.col("text").str.extract_groups(pattern).alias("parts")).unnest("parts")
        parts = parts.with_columns(pl.lit(None, pl.String).alias(name) for name in _PARTS if name not in parts.columns)
        found = parts.select(_iso(day_first)).to_series()
        result = result.zip_with(result.is_not_null(), found)
        if number == 0 and day_first is None:
            is_open = parts.select(_is_open().fill_null(False)).to_series()
    result = result.zip_with(result.is_not_null(), _from_epoch(plain))
    result = result.zip_with(_parse(result).is_not_null(), _NONE)
    return texts.zip_with(as_they_are | (is_open & result.is_null()), result)


def _parse(texts: pl.Series) -> pl.Series:
    parsed: pl.Series = REGISTRIES["feature"].create(Component("date")).parse(texts)
    return parsed


def _plain(texts: pl.Series) -> pl.Series:
    return texts.str.normalize("NFKC").str.strip_chars(cells.BLANKS)


def _is_open() -> pl.Expr:
    a, b = pl.col("a").cast(pl.Int64), pl.col("b").cast(pl.Int64)
    return (a <= 12) & (b <= 12) & (a != b)


def _iso(day_first: bool | None) -> pl.Expr:
    """`2024-01-31` or `2024-01-31T12:30:00Z` from the parts of a cell; null where a part is missing."""
    a, b = pl.col("a"), pl.col("b")
    a_is_day = a.cast(pl.Int64) > 12
    b_is_day = b.cast(pl.Int64) > 12
    either = pl.when(a == b).then(True).otherwise(pl.lit(day_first, pl.Boolean))
    first_is_day = pl.when(a_is_day).then(True).when(b_is_day).then(False).otherwise(either)
    day = pl.coalesce("day", pl.when(first_is_day).then(a).when(~first_is_day).then(b))
    name = pl.col("name").str.to_lowercase().replace_strict(_MONTHS, [f"{month:02d}" for month in range(1, 13)], default=None)
    month = pl.coalesce("month", name, pl.when(first_is_day).then(b).when(~first_is_day).then(a))
    short = pl.col("year").cast(pl.Int64)
    century = pl.when(pl.col("year").str.len_chars() == 4).then(0).when(short < _PIVOT).then(2000).otherwise(1900)
    date = pl.concat_str((short + century).cast(pl.String), pl.lit("-"), month.str.zfill(2), pl.lit("-"), day.str.zfill(2))
    return pl.when(pl.col("hour").is_null()).then(date).otherwise(pl.concat_str(date, pl.lit("T"), _clock()))


def _clock() -> pl.Expr:
    hour = pl.col("hour").cast(pl.Int64)
    afternoon = pl.col("half").str.to_lowercase().str.starts_with("p")
    in_half = (hour >= 1) & (hour <= 12)
    hour = pl.when(afternoon.is_null()).then(hour).when(in_half).then(hour % 12 + pl.when(afternoon).then(12).otherwise(0))
    second = pl.col("second").fill_null("00")
    fraction = pl.when(pl.col("fraction").is_null()).then(pl.lit("")).otherwise(pl.concat_str(pl.lit("."), pl.col("fraction")))
    zone = pl.col("zone").str.to_uppercase().replace(["UTC", "GMT"], ["Z", "Z"]).fill_null("")
    return pl.concat_str(hour.cast(pl.String).str.zfill(2), pl.lit(":"), pl.col("minute"), pl.lit(":"), second, fraction, zone)


def _from_epoch(plain: pl.Series) -> pl.Series:
    """Whole numbers of 9 to 16 digits as moments."""
    text = pl.when(pl.col("text").str.contains(_EPOCH)).then(pl.col("text"))
    digits = text.str.strip_prefix("-").str.len_chars()
    units = digits.replace_strict(list(_PER_SECOND), list(_PER_SECOND.values()), default=None, return_dtype=pl.Int64)
    microseconds = text.cast(pl.Int64) * (10**6 // units)
    moment = microseconds.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
    return plain.to_frame("text").select(moment).to_series()
