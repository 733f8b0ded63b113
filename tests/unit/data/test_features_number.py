from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from lode.data.features.number import Number


def _fitted(values: list[float | None], **options: str) -> tuple[Number, np.ndarray]:
    feature = Number(**options)
    return feature, feature.fit_transform(pl.Series("x", values, dtype=pl.Float64), None, None)


def test_robust_scaling_puts_the_median_at_zero_and_bends_the_tails_below_three() -> None:
    feature, array = _fitted([*map(float, range(101)), 1e12])
    assert abs(array[50, 0]) < 0.02 and array[75, 0] == pytest.approx(0.5, abs=0.05)
    assert 2.9 < array[-1, 0] <= 3.0
    assert feature.transform(pl.Series("x", [1e308, -1e308])).ravel().tolist() == [3.0, -3.0]


@pytest.mark.parametrize("scale", ["robust", "standard", "quantile", "none"])
def test_constant_columns_and_huge_values_stay_finite(scale: str) -> None:
    for values in ([7.0] * 9, [0.1] * 1000, [1e308, -1e308, 0.0], [0.0] * 99 + [1e300], [None, 3.0]):
        feature, array = _fitted(values, scale=scale)
        assert np.isfinite(array).all()
        assert np.isfinite(feature.transform(pl.Series("x", [1e308, -1e308, None], dtype=pl.Float64))).all()


def test_a_constant_column_says_nothing() -> None:
    _, array = _fitted([0.1] * 1000, scale="standard")
    assert not array.any()


def test_a_mostly_zero_column_is_not_blown_up() -> None:
    _, array = _fitted([0.0] * 95 + [1000.0, 2000.0, 3000.0, 4000.0, 99_999.0])
    assert 0 < array[95, 0] < 1 and array[:95].max() == 0.0


def test_the_flag_of_missing_cells_exists_only_where_training_had_some() -> None:
    without, _ = _fitted([1.0, 2.0])
    with_flag, array = _fitted([1.0, None, 3.0])
    assert without.spec.shape == (1,) and with_flag.spec.shape == (2,)
    assert array[:, 1].tolist() == [0.0, 1.0, 0.0] and array[1, 0] == 0.0


def test_flat_is_the_raw_number() -> None:
    feature, _ = _fitted([1.0, 2.5, None])
    flat = feature.flat(pl.Series("x", [1e6, None, -2.5], dtype=pl.Float64))
    assert flat.dtype == np.float32 and flat[0, 0] == 1e6 and np.isnan(flat[1, 0]) and flat[2, 0] == -2.5


def test_flat_keeps_differences_that_float32_would_swallow() -> None:
    days = [20240101.0 + day for day in range(30)]
    feature, _ = _fitted(days)
    assert len(set(feature.flat(pl.Series("x", days)).ravel().tolist())) == 30


def test_standard_scaling_has_mean_zero_and_deviation_one() -> None:
    _, array = _fitted(np.random.default_rng(0).normal(50, 10, 1000).tolist(), scale="standard")
    assert array.mean() == pytest.approx(0, abs=1e-5) and array.std() == pytest.approx(1, abs=1e-5)


def test_quantile_scaling_makes_any_shape_normal() -> None:
    _, array = _fitted(np.exp(np.random.default_rng(0).normal(0, 3, 5000)).tolist(), scale="quantile")
    assert array.mean() == pytest.approx(0, abs=0.02) and array.std() == pytest.approx(1, abs=0.02)


def test_inverse_gives_the_numbers_back() -> None:
    for scale in ("robust", "standard", "none"):
        feature, array = _fitted([1.0, 2.0, None, 5.0], scale=scale)
        assert feature.inverse(array).to_list() == [
            pytest.approx(1, abs=1e-4),
            pytest.approx(2, abs=1e-4),
            None,
            pytest.approx(5, abs=1e-4),
        ]


def test_integers_decimals_booleans_and_texts_are_numbers() -> None:
    feature = Number()
    for column in (
        pl.Series("x", [1, 0]),
        pl.Series("x", [True, False]),
        pl.Series("x", ["1.00", "0"]).cast(pl.Decimal(5, 2)),
        pl.Series("x", [" 1", "0 "]),
    ):
        assert feature.parse(column).to_list() == [1.0, 0.0]


@pytest.mark.parametrize("num_rows", [1, 2, 3, 10, 401])
def test_middle_and_quartiles_are_those_of_numpy_to_the_bit(num_rows: int) -> None:
    values = np.random.default_rng(num_rows).normal(size=num_rows) * 1e5
    feature = Number()
    feature.fit(pl.Series("x", values))
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    state = feature.state()
    assert state["center"] == median
    assert state["factor"] == (1.0 / (high - low) if num_rows > 1 else 0.0)
