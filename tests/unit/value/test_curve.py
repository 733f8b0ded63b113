"""The profit curve equals trying every threshold; the best one is the documented one."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from lode.value.contracts import Outcomes
from lode.value.curve import TREAT_ALL, TREAT_NONE, best, points, policy_curve, profit_curve, threshold
from lode.value.policies.matrix import Matrix


def curve_of(prediction: list[float], gains: list[int]):
    money = np.array(gains)
    return profit_curve(np.array(prediction), money, np.zeros_like(money), 0)


@pytest.mark.parametrize("seed", range(5))
def test_every_profit_is_what_its_threshold_earns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    prediction = generator.integers(0, 8, 60) / 7
    treated, untreated = generator.integers(-9, 9, (2, 60))
    curve = profit_curve(prediction, treated, untreated, 0)
    assert len(curve.thresholds) == len(np.unique(prediction)) + 1
    for level, count, profit in zip(curve.thresholds, curve.treated, curve.profits, strict=True):
        chosen = prediction >= level
        assert chosen.sum() == count
        assert np.where(chosen, treated, untreated).sum() == profit
    assert (np.diff(curve.thresholds) < 0).all()


def test_both_ends_are_treat_none_and_treat_all() -> None:
    curve = curve_of([0.0, 1.0], [-1, 1])
    assert curve.thresholds[0] == TREAT_NONE and not (np.array([1.0]) >= TREAT_NONE).any()
    assert curve.thresholds[-1] == TREAT_ALL
    assert curve.profits.tolist() == [0, 1, 0]


def test_the_best_threshold_lies_midway() -> None:
    curve = curve_of([0.9, 0.7, 0.2], [5, 5, -3])
    assert curve.thresholds[best(curve)] == pytest.approx(0.45)


def test_of_equal_profits_the_widest_gap_wins_then_the_fewest_treated() -> None:
    wide = curve_of([0.9, 0.8, 0.4, 0.3], [5, 0, 0, -1])
    assert wide.thresholds[best(wide)] == pytest.approx(0.6)
    same = curve_of([0.75, 0.5, 0.25], [0, 0, 0])
    assert best(same) == 0


def test_treating_none_or_all_may_be_best() -> None:
    assert best(curve_of([0.9, 0.2], [-5, -5])) == 0
    assert best(curve_of([0.9, 0.2], [5, 5])) == 2


def test_neighbouring_floats_are_told_apart() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))
    curve = curve_of([high, low], [5, -5])
    threshold = curve.thresholds[best(curve)]
    assert high >= threshold > low


def test_huge_money_does_not_overflow() -> None:
    huge = np.array([2**61, 2**61, 2**61, -(2**61)])
    curve = profit_curve(np.array([0.9, 0.8, 0.7, 0.1]), huge, -huge, 0)
    assert curve.profits.tolist() == [-(2**62), 0, 2**62, 2**63, 2**62]
    assert best(curve) == 3


def test_points_have_both_ends_and_the_best_and_no_more_than_asked() -> None:
    generator = np.random.default_rng(0)
    prediction = generator.random(5000)
    truth = (generator.random(5000) < prediction).astype(np.int64)
    curve = policy_curve(Matrix(true_positive=3, false_positive=-1), Outcomes(prediction, truth))
    shown = points(curve)
    assert len(shown) <= 200
    assert (shown[0]["threshold"], shown[-1]["threshold"]) == (TREAT_NONE, TREAT_ALL)
    top = max(shown, key=lambda point: point["value"])
    assert top["threshold"] == curve.thresholds[best(curve)] == pytest.approx(0.25, abs=0.05)
    assert shown[0]["treated"] == 0.0 and shown[-1]["treated"] == 1.0
    assert points(profit_curve(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), 0)) == []


def test_in_a_gap_the_threshold_is_where_acting_breaks_even() -> None:
    curve = curve_of([0.98, 0.97, 0.02, 0.01], [5, 5, -5, -5])
    assert threshold(curve, 0.1) == pytest.approx(0.1)
    assert threshold(curve, 0.001) == pytest.approx(0.02) and threshold(curve, 0.001) > 0.02
    assert threshold(curve, 0.999) == pytest.approx(0.97) and threshold(curve, 0.999) < 0.97
    assert threshold(curve, None) == curve.thresholds[best(curve)]


def test_treating_all_stays_where_nothing_else_earns_as_much() -> None:
    assert threshold(curve_of([0.9, 0.2], [5, 5]), 0.5) == 0.0


def test_the_last_gap_between_rows_and_the_nearest_of_several_count_too() -> None:
    """Profits 0, 5, 10, 5: best between 0.5 and 0.1. Profits 0, 5, 5, 0: as good anywhere from 0.9 to 0.1."""
    assert threshold(curve_of([0.9, 0.5, 0.1], [5, 5, -5]), 0.2) == pytest.approx(0.2)
    several = curve_of([0.9, 0.5, 0.1], [5, 0, -5])
    assert threshold(several, 0.3) == pytest.approx(0.3) and threshold(several, 0.7) == pytest.approx(0.7)


def test_the_gap_below_the_last_row_ends_at_zero() -> None:
    """Treating the second row or not earns the same: between the rows there is room for 0.1, below them for 0.8."""
    assert best(curve_of([0.9, 0.8], [5, 0])) == 2
    assert best(curve_of([0.9, 0.2], [5, 0])) == 1


def test_values_are_money_per_thousand_decisions() -> None:
    """Four rows earn 5.00, 10.00, 7.00 and 7.00 in cents."""
    gains = np.array([500, 500, -300, 0])
    shown = points(profit_curve(np.array([0.9, 0.7, 0.2, 0.1]), gains, np.zeros_like(gains), 2))
    assert [point["value"] for point in shown] == [Decimal(value) for value in (0, 1250, 2500, 1750, 1750)]
