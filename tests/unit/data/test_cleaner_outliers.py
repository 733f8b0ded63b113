from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.changes import diff
from lode.data.contracts import ROW, Cleaner
from lode.data.mending.fitting import known_numbers, quantiles, random_rows, spread_rows


def outliers(**options: object) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("outliers", options))
    return made


def normal(num_rows: int = 5_000) -> pl.DataFrame:
    values = np.random.default_rng(0).normal(size=num_rows)
    values[:3] = [50.0, -60.0, np.nan]
    return pl.DataFrame({ROW: pl.Series(range(num_rows), dtype=pl.UInt64), "x": values, "y": values * 2.0}).fill_nan(None)


@pytest.mark.parametrize("method", ["iqr", "z", "mad"])
def test_far_numbers_are_clipped_emptied_or_their_rows_dropped(method: str) -> None:
    frame = normal()
    for action, expected in (("clip", None), ("null", None), ("drop", None)):
        cleaner = outliers(method=method, action=action)
        cleaner.fit(frame.lazy(), {"x": "number", "y": "number"})
        after = cleaner.apply(frame)
        if action == "drop":
            assert after[ROW].to_list() == [row for row in range(frame.height) if row not in (0, 1)], expected
        elif action == "null":
            assert after["x"][:2].to_list() == [None, None]
            assert after["x"].null_count() == 3
        else:
            assert 3.0 < after["x"][0] < 10.0
            assert -10.0 < after["x"][1] < -3.0
            assert after["x"][3:].equals(frame["x"][3:])


def test_the_edges_are_those_of_the_textbook() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0]
    frame = pl.DataFrame({"x": values})
    expected = {"iqr": 7.0 + 1.5 * 4.0, "z": np.mean(values) + 1.5 * np.std(values), "mad": 5.0 + 1.5 * 1.4826 * 2.0}
    for method, high in expected.items():
        cleaner = outliers(method=method, limit=1.5)
        cleaner.fit(frame.lazy(), {"x": "number"})
        assert cleaner.apply(frame)["x"][8] == pytest.approx(high)


def test_a_column_without_a_scale_is_left_alone_and_said() -> None:
    frame = pl.DataFrame({"x": [0.0] * 99 + [5.0], "c": [1.1] * 100})
    cleaner = outliers(method="mad")
    cleaner.fit(frame.lazy(), {"x": "number", "c": "number"})
    assert cleaner.apply(frame).equals(frame)
    assert len(cleaner.notes) == 2
    assert "x has no scale by mad" in cleaner.notes[0]
    huge = pl.DataFrame({"x": [1e308, -1e308, 0.0, 1.0]})
    for method in ("iqr", "z", "mad"):
        outliers(method=method).fit(huge.lazy(), {"x": "number"})


def test_a_forest_finds_rows_that_no_column_gives_away() -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2_000)
    x, y = np.cos(angle) + rng.normal(0, 0.05, 2_000), np.sin(angle) + rng.normal(0, 0.05, 2_000)
    x[:5], y[:5] = 3.0, 3.0
    frame = pl.DataFrame({ROW: pl.Series(range(2_000), dtype=pl.UInt64), "x": x, "y": y})
    cleaner = outliers(method="isolation_forest", action="drop", limit=0.005)
    cleaner.fit(frame.lazy(), {"x": "number", "y": "number"})
    after = cleaner.apply(frame)
    assert not set(range(5)) & set(after[ROW].to_list())
    assert after.height >= 1_985
    assert cleaner.state() == {}


def test_reasons_name_the_edge() -> None:
    frame = normal()
    cleaner = outliers(method="iqr")
    cleaner.fit(frame.lazy(), {"x": "number"})
    reasons = list(cleaner.why(diff(frame, cleaner.apply(frame))))
    assert reasons[0].startswith("above 4.")
    assert reasons[1].startswith("below -4.")
    assert reasons[0].endswith("(iqr)")


def test_faults_are_named() -> None:
    frame = pl.DataFrame({"price": [1.0], "city": ["a"]})
    types = {"price": "number", "city": "category"}
    with pytest.raises(DataError, match=r'no column "prise".*Did you mean "price"'):
        outliers(columns=["prise"]).fit(frame.lazy(), types)
    with pytest.raises(DataError, match='"city" is a category, a number is needed'):
        outliers(columns=["city"]).fit(frame.lazy(), types)
    with pytest.raises(SpecError, match="judges rows"):
        outliers(method="isolation_forest", action="clip")
    with pytest.raises(SpecError, match="a share of rows"):
        outliers(method="isolation_forest", action="drop", limit=3)


@pytest.mark.parametrize("kinds", [1, 2, 3, 40, 10_000])
def test_quantiles_of_columns_that_are_mostly_one_value_are_exact(kinds: int) -> None:
    rng = np.random.default_rng(kinds)
    shares = (0.0, 0.1, 0.25, 0.5, 0.75, 0.97, 1.0)
    for num_rows in (1, 2, 3, 1_000, 4_001):
        values = rng.choice(rng.normal(size=kinds).round(2), num_rows) * (rng.random(num_rows) < rng.random())
        assert quantiles(values.copy(), shares) == pytest.approx(np.quantile(values, shares).tolist(), rel=1e-15)


def test_the_reason_names_the_edge_of_each_column() -> None:
    frame = pl.DataFrame({ROW: pl.Series(range(12), dtype=pl.UInt64), "x": [*range(10), 99, -99], "y": [*range(10), -500, 500]})
    cleaner = outliers(method="iqr", limit=1.0)
    cleaner.fit(frame.cast({"x": pl.Float64, "y": pl.Float64}).lazy(), {"x": "number", "y": "number"})
    changed = diff(frame, cleaner.apply(frame)).sort("column", "row")
    (low_x, high_x), (low_y, high_y) = (cleaner.state()["bounds"][name] for name in "xy")
    assert cleaner.why(changed).to_list() == [  # type: ignore[union-attr]
        f"above {high_x:.6g} (iqr)", f"below {low_x:.6g} (iqr)", f"below {low_y:.6g} (iqr)", f"above {high_y:.6g} (iqr)",
    ]  # fmt: skip


def test_yaml_reads_null_as_nothing_and_so_do_we() -> None:
    frame = normal()
    cleaner = outliers(action=None)
    cleaner.fit(frame.lazy(), {"x": "number"})
    assert cleaner.apply(frame)["x"].null_count() == 3


def test_quantiles_and_samples_are_exact_and_repeatable() -> None:
    values = np.random.default_rng(3).normal(size=10_001)
    shares = (0.0, 0.25, 0.5, 0.9, 1.0)
    assert quantiles(values.copy(), shares) == pytest.approx(np.quantile(values, shares).tolist(), rel=1e-15)
    rows = pl.DataFrame({"x": values, "i": range(len(values))}).lazy()
    assert np.array_equal(known_numbers(rows, "x"), values)
    first, again = (random_rows(rows, ["i"], 100, seed=4) for _ in range(2))
    assert first.equals(again)
    assert first.height == 100
    assert first["i"].is_sorted()
    assert not first.equals(random_rows(rows, ["i"], 100, seed=5))
    many = pl.DataFrame({"i": range(300_000)}).lazy()
    look = spread_rows(many, ["i"])["i"]
    assert look.len() == 8 * 16_384
    assert (look[0], look[-1]) == (0, 299_999)
