from __future__ import annotations

import random
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from lode.data.features.date import Date

NOON = datetime(2024, 1, 31, 12, 30)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024-1-31 12:30", NOON),
        ("2024-01-31T12:30:00Z", NOON),
        ("2024-01-31T14:30:00+02:00", NOON),
        ("2024-01-31T12:30:00.250", NOON.replace(microsecond=250_000)),
        ("2024/01/31", datetime(2024, 1, 31)),
        ("31.01.2024 12:30", NOON),
        ("31 Jan 2024", datetime(2024, 1, 31)),
        ("January 31, 2024", datetime(2024, 1, 31)),
        ("2024\u5e741\u670831\u65e5", datetime(2024, 1, 31)),
        ("2023-02-29", None),
        ("2024-13-01", None),
        ("2024-01-31T24:00", None),
        ("0024-01-31", None),
        ("Marvel 3, 2020", None),
        ("3 \u017fep 2020", None),
        ("03/04/2024", None),
        ("20240131", None),
    ],
)
def test_dates_are_read_in_requests_and_in_tables(text: str, moment: datetime | None) -> None:
    assert Date().parse(pl.Series("x", [text])).to_list() == [moment]
    assert Date().parse(pl.Series("x", [text] * 100)).to_list() == [moment] * 100


def test_slashes_need_to_be_told() -> None:
    column = pl.Series("x", ["03/04/2024"])
    assert Date(slashes="month/day/year").parse(column)[0] == datetime(2024, 3, 4)
    assert Date(slashes="day/month/year").parse(column)[0] == datetime(2024, 4, 3)


@pytest.mark.parametrize("seed", range(3))
def test_few_and_many_dates_are_read_alike(seed: int) -> None:
    rng = random.Random(seed)
    parts = [
        "2024",
        "9999",
        "1000",
        "-",
        "-",
        "/",
        ".",
        "02",
        "30",
        "1",
        "12",
        "T",
        " ",
        ":",
        "59",
        "23",
        "Z",
        "+01:00",
        "-0500",
        "May",
        ",",
        "60",
    ]
    texts = ["".join(rng.choices(parts, k=rng.randrange(12))) for _ in range(2_000)]
    zones = ["", "Z", "+23:59", "-23:59", "+01:60"]
    for _ in range(2_000):
        day = f"{rng.randrange(1000, 10000)}-{rng.randrange(14)}-{rng.randrange(33)}"
        texts.append(f"{day}T{rng.randrange(26)}:{rng.randrange(62):02}{rng.choice(zones)}")
    feature = Date()
    many = feature.parse(pl.Series("x", texts)).to_list()
    few = [
        moment
        for start in range(0, len(texts), 50)
        for moment in feature.parse(pl.Series("x", texts[start : start + 50])).to_list()
    ]
    assert many == few and sum(moment is not None for moment in many) > 100


def test_typed_columns_are_dates_in_utc() -> None:
    feature = Date()
    assert feature.parse(pl.Series("x", [date(2024, 1, 31)])).to_list() == [datetime(2024, 1, 31)]
    zoned = pl.Series("x", [datetime(2024, 1, 31, 12)], dtype=pl.Datetime("ms", "Asia/Tokyo"))
    assert feature.parse(zoned).to_list() == [zoned.dt.convert_time_zone("UTC").dt.replace_time_zone(None)[0]]


def test_hours_are_there_only_where_training_has_times() -> None:
    days, moments = Date(), Date()
    days.fit(pl.Series("x", [datetime(2024, 1, 1), datetime(2024, 1, 2)]))
    moments.fit(pl.Series("x", [datetime(2024, 1, 1, 5), datetime(2024, 1, 2)]))
    assert days.spec.shape == (7,) and moments.spec.shape == (9,)
    assert "hour" not in days.flat_spec.names and "hour" in moments.flat_spec.names


def test_calendar_parts_are_those_of_the_calendar() -> None:
    moments = [
        datetime(1969, 12, 31, 23),
        datetime(1970, 1, 1),
        datetime(2024, 2, 29, 13),
        datetime(1000, 1, 1),
        datetime(9999, 12, 31),
    ]
    feature = Date()
    column = pl.Series("x", moments, dtype=pl.Datetime("us"))
    feature.fit(column)
    parts = dict(zip(feature.flat_spec.names, feature.flat(column).T.tolist(), strict=True))
    for name in ("year", "month", "day", "hour"):
        assert parts[name] == [getattr(moment, name) for moment in moments]
    assert parts["weekday"] == [moment.weekday() for moment in moments]


def test_a_missing_date_is_zeros_and_a_flag() -> None:
    feature = Date()
    array = feature.fit_transform(pl.Series("x", [datetime(2024, 1, 1), None, datetime(2025, 1, 1)]), None, None)
    assert array[1].tolist() == [0.0] * 7 + [1.0] and np.isnan(feature.flat(pl.Series("x", [None], dtype=pl.Datetime("us")))).all()
