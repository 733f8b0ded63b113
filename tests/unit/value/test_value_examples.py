"""Money at its edges: sums beyond 64 bits, quantities beyond what floats multiply, costs that just outweigh a lead."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from lode.core.errors import SpecError
from lode.value import exact
from lode.value.bootstrap import block_totals
from lode.value.contracts import Outcomes
from lode.value.estimate import backtest, expected
from lode.value.policies.matrix import Matrix
from lode.value.policies.newsvendor import Newsvendor
from lode.value.provider_prices import ModelPrices, PriceList
from lode.value.realised import Decided, realise
from lode.value.worth import Worth, appraise, sentence

BIG = 2**61 + 1
"""Four of them are beyond 64 bits; odd, so that no common divisor makes them small again."""


def test_sums_of_rows_that_fit_are_exact_where_they_do_not() -> None:
    assert block_totals(np.array([BIG] * 5 + [1]), np.array([3] * 5 + [2])).tolist() == [1, 5 * BIG]
    assert exact.total(np.array([-BIG] * 5 + [1])) == -5 * BIG + 1, "the largest magnitude may be the least number"
    column = np.array([BIG, BIG - 2, -BIG, BIG, BIG, BIG, BIG, BIG])
    drawn = np.random.default_rng(1).integers(0, 8, (1, 8))[0]
    assert list(exact.drawn_totals([column], 1, seed=1)) == [(sum(int(column[row]) for row in drawn),)]


@pytest.mark.parametrize("number", [12345678901.123457, 98765432109.87654, -40000000000.12345, 9007199254.740995])
def test_quantities_beyond_the_exact_products_of_floats_are_rounded_exactly(number: float) -> None:
    """The float as it is, a fraction, to the nearest millionth."""
    wanted = round(Fraction(number) * 10**6)
    assert exact.quantity_units(np.array([number])).tolist() == [wanted]


def test_amounts_have_at_most_thirty_digits_before_the_point() -> None:
    assert exact.amount("9" * 30, "price") == Decimal("9" * 30)
    with pytest.raises(SpecError, match=r"an amount below 10\^30"):
        exact.amount("1" + "0" * 30, "price")


def test_a_chance_is_rounded_to_nine_places_and_held_between_none_and_all() -> None:
    """Two thirds are 0.666666667; a calibrated chance may be a hair above 1."""
    policy = Matrix(true_positive=1, false_positive=-1)
    outcomes = Outcomes(np.array([2 / 3, 1.0000001, -0.5]), np.zeros(3, dtype=np.int64))
    found = expected(policy, np.ones(3, np.int64), outcomes)
    assert found.tolist() == [666_666_667 - 333_333_333, 10**9, -(10**9)]


def test_errors_of_windows_do_not_cancel_and_biases_do() -> None:
    """One window is 3 too high, the other 2 too low: a bias of 1 / 4 and an error of 5 / 4 a decision."""
    actual = np.array([1, 2, 3, 4])
    estimates = (actual + np.array([3, 0, -1, -1])) * 10**9
    found = backtest(estimates, actual, 0, np.array([0, 0, 1, 1]))
    assert (found.bias, found.error) == (Fraction(1, 4), Fraction(5, 4))


@pytest.mark.parametrize(("days", "of"), [(20, "day"), (19, "request")])
def test_twenty_days_are_enough_to_be_drawn_as_days(days: int, of: str) -> None:
    truth = np.arange(100) % 2
    decided = Decided(truth, Outcomes(truth.astype(float), truth), np.arange(100) % days, np.arange(100))
    assert realise(Matrix(true_positive=1, false_positive=-1), decided, resamples=10).blocks == (of, days if of == "day" else 100)


@pytest.mark.parametrize(("seconds", "verdict"), [(300, "worth it"), (500, "not proven"), (700, "not worth it")])
def test_costs_come_off_the_lead_for_as_many_decisions(seconds: int, verdict: str) -> None:
    """Half of 400 rows bring 1, the others cost 1: the model leads by 500 per 1,000. A second costs 1, for 1,000 decisions in all."""
    truth = np.arange(400) % 2
    outcomes, policy = Outcomes(np.where(truth == 1, 0.9, 0.1), truth), Matrix(true_positive=1, false_positive=-1)
    worth = Worth(currency="EUR", decisions=1000, compute_hour=Decimal(3600))
    assert appraise(worth, policy, outcomes, {}, training_seconds=seconds, resamples=200).verdict == verdict


def test_the_break_even_of_a_matrix_is_the_one_of_elkan() -> None:
    """Foundations of cost-sensitive learning, equation 2: 10 / (10 + 30) where a treatment costs 10 and saves 40 of a loss; two rows leave
    a gap from 0.1 to 0.9 in which it is taken.
    """
    policy = Matrix(true_positive=-10, false_positive=-10, false_negative=-40)
    policy.fit(Outcomes(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0])))
    assert policy.threshold == pytest.approx(10 / 40)


def test_an_order_pays_for_what_is_left_over_and_what_is_missing() -> None:
    """Price 9, cost 4, left over 1, missing 2 each: 3 of 5 sold is 27 - 12 - 4; 5 of 3 is 27 - 20 + 2."""
    policy = Newsvendor(price=9, cost=4, salvage=1, shortage=2)
    money = policy.worth(np.array([3.0, 5.0]), Outcomes(np.zeros(2), np.array([5.0, 3.0])))
    assert [Fraction(int(units), 10**policy.scale) for units in money] == [11, 9]


def test_where_acting_never_costs_there_is_no_break_even() -> None:
    """Profits 0, 1, 1: the widest gap decides, from 0.9 to 0.1. Of one class alone there is none either."""
    policy = Matrix(true_positive=1)
    policy.fit(Outcomes(np.array([0.9, 0.1]), np.array([1, 0])))
    assert policy.threshold == pytest.approx(0.5)
    for label in (0, 1):
        one = Matrix(true_positive=1, false_positive=-1)
        one.fit(Outcomes(np.array([0.9, 0.1]), np.array([label, label])))
        assert one.act(np.array([0.9, 0.1])).tolist() == [label, label]


def test_what_is_missing_and_what_is_left_over_say_how_much_to_order() -> None:
    """Short 2 - 1 + 2 = 3, over 1 - 0 = 1: three quarters of ten demands are not above 8. Without the shortage a half: 5."""
    demand = Outcomes(np.zeros(10), np.arange(1.0, 11.0))
    for shortage, salvage, wanted in ((2, 0, 8.0), (0, 0, 5.0), (0, Decimal("0.75"), 8.0)):
        policy = Newsvendor(price=2, cost=1, shortage=shortage, salvage=salvage)
        policy.fit(demand)
        assert policy.simple(demand)["order the same"][0] == policy.act(np.zeros(1))[0] == wanted
    policy.fit(Outcomes(np.zeros(2), np.array([-3.0, -2.0])))
    assert policy.simple(demand)["order the same"][0] == policy.simple(demand)["order the mean"][0] == 0.0
    with pytest.raises(SpecError, match="price"):
        Newsvendor(price=1, cost=1)


def test_a_part_of_the_smallest_unit_is_a_whole_one() -> None:
    """A token at 10^-12 a million costs 10^-12, as a million do, and one more costs another."""
    prices = PriceList("p", "1", "USD", {"m": ModelPrices(input=1)})
    assert [prices.cost("m", {"input_tokens": number}) for number in (0, 1, 10**6, 10**6 + 1)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("brings", "said"), [("1", "earns EUR 100 per"), ("0.99", "earns EUR 99.00 per"), ("-1", "costs EUR 100 per")]
)
def test_amounts_are_told_in_whole_units_from_a_hundred_on(brings: str, said: str) -> None:
    """One of ten rows is treated."""
    outcomes = Outcomes(np.array([0.9] + [0.1] * 9), np.array([1] + [0] * 9))
    found = appraise(Worth(currency="EUR"), Matrix(true_positive=Decimal(brings)), outcomes, {}, resamples=20)
    assert f"the model {said} 1,000 decisions" in sentence(found)
