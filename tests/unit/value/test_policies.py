"""Policies by hand: every cell of the matrix, every unit of an order, the quantile that costs least."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from lode.core.errors import DataError, SpecError
from lode.value.contracts import Outcomes, Policy, money
from lode.value.policies.matrix import Matrix
from lode.value.policies.newsvendor import Newsvendor
from lode.value.policies.per_unit import PerUnit


def amounts(policy: Policy, action: Any, outcomes: Outcomes) -> list[Decimal]:
    return [money(units, policy.scale) for units in policy.worth(np.array(action), outcomes).tolist()]


def test_each_cell_of_the_matrix_is_earned_where_it_belongs() -> None:
    policy = Matrix(
        true_positive=Decimal(2500),
        false_positive=Decimal("-300.5"),
        false_negative=Decimal(-5000),
        true_negative=Decimal("0.01"),
    )
    outcomes = Outcomes(np.zeros(4), np.array([1, 0, 1, 0]))
    assert amounts(policy, [1, 1, 0, 0], outcomes) == [
        Decimal(2500),
        Decimal("-300.5"),
        Decimal(-5000),
        Decimal("0.01"),
    ]
    assert policy.scale == 2 and policy.columns == ()


def test_columns_give_each_row_its_own_amount() -> None:
    policy = Matrix(true_positive="margin", false_positive=-1, false_negative="loss", true_negative="margin")
    assert policy.columns == ("margin", "loss")
    columns = {
        "margin": np.array([Decimal("0.1"), Decimal("0.2"), Decimal(3), Decimal(4)], dtype=object),
        "loss": np.array([Decimal(-5), Decimal(-6), Decimal("-7.000000000001"), Decimal(-8)], dtype=object),
    }
    outcomes = Outcomes(np.zeros(4), np.array([1, 0, 1, 0]), columns)
    assert amounts(policy, [1, 1, 0, 0], outcomes) == [
        Decimal("0.1"),
        Decimal(-1),
        Decimal("-7.000000000001"),
        Decimal(4),
    ]


def test_huge_amounts_are_exact_to_the_last_place() -> None:
    huge = Decimal("900000000000000000000000.01")
    policy = Matrix(true_positive=huge, false_positive=-huge)
    outcomes = Outcomes(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0]))
    assert amounts(policy, [1, 1, 1], outcomes) == [huge, huge, -huge]
    policy.fit(outcomes)
    assert policy.act(outcomes.prediction).tolist() == [1, 1, 0]
    assert sum(amounts(policy, [1, 1, 1], outcomes)) == huge


def test_the_fitted_threshold_approaches_the_one_of_theory() -> None:
    generator = np.random.default_rng(0)
    prediction = generator.random(40_000)
    truth = (generator.random(40_000) < prediction).astype(np.int64)
    policy = Matrix(true_positive=40, false_positive=-10)
    policy.fit(Outcomes(prediction, truth))
    assert policy.threshold == pytest.approx(0.2, abs=0.03)


def test_before_fitting_the_threshold_is_one_half() -> None:
    assert Matrix(true_positive=1).act(np.array([0.5, 0.49])).tolist() == [1, 0]


@pytest.mark.parametrize("cells", [{}, {"true_positive": 5, "false_negative": 5}, {"false_positive": "a", "true_negative": "a"}])
def test_a_matrix_in_which_the_action_does_not_matter_is_an_error(cells: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="treating and not treating earn the same"):
        Matrix(**cells)


def test_an_empty_money_cell_is_an_error() -> None:
    policy = Matrix(true_positive="margin")
    outcomes = Outcomes(np.zeros(1), np.array([1]), {"margin": np.array([None], dtype=object)})
    with pytest.raises(DataError, match=r'column "margin", row 0: found None'):
        policy.worth(np.array([1]), outcomes)


def test_newsvendor_by_hand() -> None:
    policy = Newsvendor(price=Decimal("5.00"), cost=Decimal(3), salvage=Decimal("0.50"), shortage=Decimal("0.25"))
    outcomes = Outcomes(np.zeros(3), np.array([10.0, 4.0, 2.5]))
    found = amounts(policy, [7.0, 7.0, 2.5], outcomes)
    assert found == [Decimal(7 * 2) - 3 * Decimal("0.25"), Decimal(4 * 5 - 7 * 3) + 3 * Decimal("0.5"), Decimal("5.00")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "policy",
    [
        Newsvendor(price=9, cost=4, salvage=1),
        Newsvendor(price=9, cost=8),
        PerUnit(over=1, under=3),
        PerUnit(over=0, under=1),
    ],
    ids=["newsvendor", "small margin", "per unit", "over is free"],
)
def test_no_other_shift_earns_more_on_the_rows_of_the_fit(policy: Policy, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.round(generator.gamma(5, 20, 41) + 50, 3)
    prediction = np.round(truth + generator.normal(0, 6, 41), 3)
    outcomes = Outcomes(prediction, truth)
    policy.fit(outcomes)
    earned = sum(policy.worth(policy.act(prediction), outcomes).tolist())
    for shift in truth - prediction:
        assert earned >= sum(policy.worth(prediction + shift, outcomes).tolist())


def test_orders_are_never_negative_and_have_six_places() -> None:
    policy = Newsvendor(price=9, cost=4)
    policy.restore({"shift": -1.23456789, "constant": 0.0, "mean": 0.0})
    assert policy.act(np.array([0.5, 10.0])).tolist() == [0.0, 8.765432]


def test_per_unit_by_hand() -> None:
    policy = PerUnit(over=Decimal("0.10"), under=Decimal(3))
    outcomes = Outcomes(np.zeros(3), np.array([10.0, 10.0, -1.0]))
    assert amounts(policy, [12.5, 8.0, -1.0], outcomes) == [Decimal("-0.25"), Decimal(-6), Decimal(0)]


def test_simple_policies_are_those_of_the_fitted_rows() -> None:
    policy = PerUnit(over=1, under=3)
    fitted, other = (
        Outcomes(np.zeros(4), np.array([1.0, 2.0, 3.0, 10.0])),
        Outcomes(np.zeros(2), np.array([99.0, 99.0])),
    )
    policy.fit(fitted)
    simple = policy.simple(other)
    assert simple["the mean"].tolist() == [4.0, 4.0]
    assert simple["always the same"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Newsvendor(price=3, cost=4), r"value\.price: found 3 at a cost of 4"),
        (lambda: Newsvendor(price=9, cost=4, salvage=4), r"value\.salvage: found 4 at a cost of 4"),
        (lambda: Newsvendor(price="margin", cost=4), r'value\.price: found "margin"'),
        (lambda: PerUnit(over=-1, under=1), r"value\.over: found -1"),
        (lambda: PerUnit(over=0, under=0), r"over and under at 0"),
    ],
)
def test_amounts_that_make_no_sense_are_errors(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_no_row_to_fit_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no row has a prediction"):
        PerUnit(over=1, under=1).fit(Outcomes(np.empty(0), np.empty(0)))
