"""Times of day and durations of a workbook, which knows dates only: half past eight is a third of the day 0, the 31st of December 1899.

Used by lode/data/sources/excel.py.
"""

from __future__ import annotations

from datetime import date, time

import polars as pl

_DAY_0 = date(1899, 12, 31)
_FIRST_DAY_OF_MACS = date(1904, 1, 1)
_WRITTEN = r"^1899-12-31 (\d\d:\d\d:\d\d(?:\.\d+)?)$"
"""A time of day among words, as the reader writes it."""


def told(frame: pl.DataFrame, where: str, notes: list[str]) -> pl.DataFrame:
    """Times of day as text, durations as seconds, the day 0 as a missing cell; a note for each column that this is done to."""
    columns = []
    for column in frame.get_columns():
        made, what = column, ""
        if column.dtype == pl.Duration:
            made, what = column.dt.total_milliseconds() / 1000, "holds durations, read as seconds"
        elif column.dtype == pl.Datetime:
            made, what = _moments(column)
        elif column.dtype == pl.String and column.str.contains(_WRITTEN).any():
            made, what = column.str.replace(_WRITTEN, "${1}"), "holds times of day among other cells, read as text"
        if what:
            notes.append(f'{where}: column "{column.name}" {what}.')
        columns.append(made)
    return pl.DataFrame(columns)


def _moments(column: pl.Series) -> tuple[pl.Series, str]:
    """A column of dates, and what was done to it."""
    days, known = column.dt.date(), column.len() - column.null_count()
    # Of a workbook made on an old Mac the days begin in 1904.
    is_time = (days == _DAY_0) | ((days == _FIRST_DAY_OF_MACS) & (days == _FIRST_DAY_OF_MACS).all())
    is_midnight = column.dt.time() == time(0)
    num_times = int(is_time.sum())
    if not num_times or (is_midnight.all() and (days == _FIRST_DAY_OF_MACS).all()):
        return column, ""
    if num_times == known:
        return _clock(column), "holds times of day, read as text (13:05:00)"
    if is_midnight.filter(is_time.fill_null(False)).all():
        frame = pl.DataFrame([column, is_time.alias("time")])
        cells = frame.select(pl.when(pl.col("time")).then(None).otherwise(pl.col(column.name)).alias(column.name)).to_series()
        return cells, f"holds the day 0 in {num_times:,} cells (a formula on an empty cell), read as missing"
    written = column.dt.to_string("%Y-%m-%d %H:%M:%S")
    return _clock(column).zip_with(is_time.fill_null(False), written), "mixes times of day with dates, read as text"


def _clock(column: pl.Series) -> pl.Series:
    has_parts = (column.dt.millisecond() != 0).any()
    return column.dt.to_string("%H:%M:%S%.3f" if has_parts else "%H:%M:%S")
