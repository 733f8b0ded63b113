"""Calibration, linear quantiles and intervals by formula: ranks, temperatures and slopes that can be worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import QuantileRegressor

from lode.model.bootstrap import difference
from lode.model.calibrate import conformal_shift, expected_calibration_error, reliability, temperature
from lode.model.pinball import fit_pinball


@pytest.mark.parametrize(
    ("num_rows", "levels", "ranks"),
    [
        (20, (0.1, 0.9), (2, 19)),  # 2.1 down, 18.9 up
        (19, (0.05, 0.1, 0.5, 0.9, 0.95), (1, 2, 10, 18, 19)),
        (99, (0.29, 0.55), (29, 55)),  # 28.999999999999996 and 55.00000000000001 as floats
        (8, (0.1, 0.9), (1, 8)),
    ],
)
def test_a_quantile_moves_to_the_error_of_its_rank_among_one_row_more(
    num_rows: int, levels: tuple[float, ...], ranks: tuple[int, ...]
) -> None:
    """Romano 2019, theorem 2: of the errors 1 to n that of rank (n + 1) level, rounded away from the middle."""
    truth = np.random.default_rng(0).permutation(np.arange(1.0, num_rows + 1))
    assert conformal_shift(np.zeros((num_rows, len(levels)), np.float32), truth, levels).tolist() == list(ranks)


def test_each_quantile_has_errors_of_its_own() -> None:
    scores = np.tile(np.array([0.0, 100.0], np.float32), (9, 1))
    assert conformal_shift(scores, np.arange(1.0, 10.0), (0.2, 0.8)).tolist() == [2.0, -92.0]


def test_the_temperature_of_separated_rows_is_the_one_of_its_formula() -> None:
    """Forty rows, all right with a score of 2. One row in 42 is spread over both classes, so that 1 in 84 is wrong: 2 / T = ln 83."""
    target = np.array([0, 1] * 20)
    assert temperature(np.where(target == 1, 2.0, -2.0)[:, None], target) == pytest.approx(2 / math.log(83), rel=1e-3)


def test_ten_rows_are_enough_for_a_temperature_and_nine_are_not() -> None:
    """Almost every second answer is wrong and certain: any other temperature is better, where one may be fitted."""
    target = np.arange(10) % 2
    scores = np.where(np.arange(10) % 4 < 2, 50.0, -50.0)[:, None]
    assert temperature(scores, target) > 5.0 and temperature(scores[:9], target[:9]) == 1.0


def test_scores_that_are_right_are_changed_no_oftener_than_one_standard_error_allows() -> None:
    """A gain that is none on average lies beyond one standard error in 16 of 100 samples; that of a fit which has not seen the row is
    below none, so in a few. (A fit that has seen it gains in 12 of these 100, any gain at all in 21.)
    """
    changed = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        true = generator.normal(0, 2, 60)
        changed += temperature(true[:, None], (generator.random(60) < expit(true)).astype(np.int64)) != 1.0
    assert changed <= 6


def test_bins_begin_at_their_lower_end_and_errors_of_both_signs_do_not_cancel() -> None:
    """0.12 and 0.18 share the second of ten bins (0.15 against a half), 0.9 and 0.95 the last one (0.925 against a half)."""
    prediction, target = np.array([0.12, 0.18, 0.9, 0.95]), np.array([1, 0, 0, 1])
    found = reliability(prediction, target, bins=10)
    assert found.count.tolist() == [2, 2] and found.predicted == pytest.approx([0.15, 0.925])
    assert expected_calibration_error(prediction, target, bins=10) == pytest.approx((0.35 + 0.425) / 2)


@pytest.mark.parametrize("level", [0.2, 0.75])
def test_linear_quantiles_are_those_of_scikit_learn(level: float) -> None:
    """A linear program there, a rounded kink here: standardised targets agree to a few parts in a hundred."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(800, 2))
    y = x @ np.array([0.6, -0.3]) + generator.exponential(0.5, 800)
    peer = QuantileRegressor(quantile=level, alpha=0.0).fit(x, y)
    weight, bias = fit_pinball(x, y, level, 0.0, 500)
    assert [*weight[:, 0], bias[0]] == pytest.approx([*peer.coef_, peer.intercept_], abs=0.03)


def test_the_penalty_of_a_linear_quantile_holds_its_slope_back_as_far_as_its_formula_says() -> None:
    """y = x = 1 or -1 a hundred times, level 0.5: 100 x 0.5 (1 - w) + 0.5 x 80 w^2 is least at w = 50 / 80."""
    x = np.tile([1.0, -1.0], 50)
    weight, bias = fit_pinball(x[:, None], x, 0.5, 80.0, 300)
    assert weight[0, 0] == pytest.approx(50 / 80, abs=1e-3) and bias[0] == pytest.approx(0.0, abs=1e-3)


def test_a_difference_is_of_the_first_less_the_second() -> None:
    truth = np.arange(30.0)
    assert difference("mae", truth + 1, truth - 3, truth, 20) == pytest.approx((-2.0, -2.0))
