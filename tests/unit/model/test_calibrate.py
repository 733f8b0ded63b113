"""Temperature: found where scores are too sure, left at 1 where nothing is to be gained.

Expected calibration error by hand. Quantiles: ranges hold as many new rows as they say.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from lode.model import calibrate
from lode.model.calibrate import conformal_shift, expected_calibration_error, reliability, shifted, temperature


def logits(num_rows: int, heat: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, num_rows)
    target = (generator.random(num_rows) < expit(true)).astype(np.int64)
    return (true * heat).astype(np.float32)[:, None], target


@pytest.mark.parametrize("heat", [3.0, 0.4])
def test_scores_that_are_too_sure_or_too_shy_get_their_temperature(heat: float) -> None:
    assert temperature(*logits(3000, heat)) == pytest.approx(heat, rel=0.12)


def test_classes_get_their_temperature() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 1.5, (3000, 4))
    target = np.array([generator.choice(4, p=row) for row in softmax(true, axis=1)])
    assert temperature((true * 4).astype(np.float32), target) == pytest.approx(4, rel=0.1)


def test_many_classes_cost_one_pass_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    target = np.arange(300) % 60
    scores = generator.normal(0, 3, (300, 60)).astype(np.float32)
    scores[np.arange(300), target] += 6.0
    passes, whole = [0], calibrate.log_softmax

    def counted(*words: object, **named: object) -> object:
        passes[0] += 1
        return whole(*words, **named)

    monkeypatch.setattr(calibrate, "log_softmax", counted)
    temperature(scores, target)
    assert passes[0] < 400, "it was one pass for each class: six fits of some twenty steps, sixty classes each"


def test_calibrated_scores_are_left_alone() -> None:
    found = [temperature(*logits(200, 1.0, seed)) for seed in range(20)]
    assert found.count(1.0) >= 16
    assert all(abs(value - 1) < 0.4 for value in found)


def test_few_rows_one_class_or_missing_targets_leave_it_alone() -> None:
    scores, target = logits(9, 3.0)
    assert temperature(scores, target) == 1.0
    scores, _ = logits(100, 3.0)
    assert temperature(scores, np.ones(100, dtype=np.int64)) == 1.0
    assert temperature(scores, np.full(100, -1)) == 1.0


def test_temperature_is_deterministic() -> None:
    assert temperature(*logits(500, 2.0)) == temperature(*logits(500, 2.0))


def test_expected_calibration_error_by_hand() -> None:
    prediction = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9])
    target = np.array([0, 0, 0, 1, 1, 1])
    assert expected_calibration_error(prediction, target, bins=10) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    found = reliability(prediction, target, bins=10)
    assert found.count.tolist() == [4, 2]
    assert found.observed.tolist() == [0.25, 1.0]
    assert found.predicted.tolist() == pytest.approx([0.1, 0.9])


def test_classes_are_judged_by_the_most_probable_one() -> None:
    prediction = np.array([[0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(prediction, np.array([0, 0])) == pytest.approx(0.1)


def test_certain_predictions_fall_into_the_last_bin_and_no_rows_are_undefined() -> None:
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0.0
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0, dtype=np.int64)))
    assert expected_calibration_error(np.array([0.5, 0.9]), np.array([-1, 1])) == pytest.approx(0.1)


def test_few_perfectly_separated_rows_make_nobody_certain() -> None:
    target = np.array([0, 1] * 20)
    scores = np.where(target == 1, 2.0, -2.0)[:, None]
    sure = 1 / (1 + np.exp(-2.0 / temperature(scores, target)))
    assert 0.9 < sure < 0.995


def test_quantiles_that_are_too_narrow_are_moved_apart_until_new_rows_lie_between() -> None:
    generator = np.random.default_rng(0)
    levels, size = (0.1, 0.5, 0.9), 4000
    middle = generator.normal(size=2 * size)
    truth = (middle + 0.5 + generator.normal(size=2 * size)).astype(np.float32)
    scores = np.column_stack([middle - 0.3, middle, middle + 0.3]).astype(np.float32)
    shift = conformal_shift(scores[:size], truth[:size], levels)
    found = shifted(scores[size:], shift)
    assert found.dtype == np.float32
    below = (truth[size:, None] <= found).mean(axis=0)
    assert below == pytest.approx(levels, abs=0.02)
    assert (truth[size:, None] <= scores[size:]).mean(axis=0)[2] < 0.5, "the test could not fail"


def test_a_shift_of_few_rows_leans_outwards_and_of_none_is_none() -> None:
    truth = np.array([1.0, 2.0, 3.0, np.nan], np.float32)
    assert conformal_shift(np.zeros((4, 3), np.float32), truth, (0.1, 0.5, 0.9)).tolist() == [1.0, 2.0, 3.0]
    assert conformal_shift(np.zeros((1, 2), np.float32), truth[3:], (0.1, 0.9)).tolist() == [0.0, 0.0]


def test_quantiles_that_cross_are_sorted_before_they_are_shifted() -> None:
    crossed = np.array([[2.0, 1.0]], np.float32)
    assert shifted(crossed, np.array([-1.0, 1.0], np.float32)).tolist() == [[0.0, 3.0]]
    assert shifted(crossed, None) is crossed
