"""V1 and V2 of the reference, with NannyML's two mistakes as regression cases; intervals, estimates, investment arithmetic: all exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lode.core.errors import DataError
from lode.value.bootstrap import block_totals, drawn_means, interval
from lode.value.contracts import Outcomes
from lode.value.estimate import backtest, expected
from lode.value.investment import npv, payback_months, roi, tornado
from lode.value.policies.matrix import Matrix
from lode.value.policies.per_unit import PerUnit
from lode.value.realised import Decided, realise

MATRIX = {"true_positive": 100, "false_positive": -5, "false_negative": -50, "true_negative": 0}
"""Of the reference's section 8, where NannyML 0.13.1 was run."""


def perfect(truth: np.ndarray, rule: np.ndarray | None = None) -> Decided:
    """Decisions that are always right, ten rows a day."""
    rows = np.arange(len(truth))
    return Decided(truth.copy(), Outcomes(truth.astype(np.float64), truth), rows // 10, rows, rule)


def chunk(positives: int) -> np.ndarray:
    truth = np.zeros(1000, dtype=np.int64)
    truth[:positives] = 1
    return truth


@pytest.mark.parametrize(
    ("positives", "total", "each", "their_each"),
    [(99, 9_900, Fraction(99, 10), 100), (1000, 100_000, Fraction(100), 45), (0, 0, Fraction(0), 45)],
)
def test_a_perfect_model_earns_the_sum_by_the_rows_also_of_one_class(
    positives: int, total: int, each: Fraction, their_each: int
) -> None:
    """NannyML 0.13.1 says `their_each`: it divides by a column's sum, and spreads a window with one class over four cells."""
    found = realise(Matrix(**MATRIX), perfect(chunk(positives)), resamples=50)
    assert found.total == total and found.mean == each == Fraction(total, 1000)
    assert found.mean != their_each
    assert found.low <= found.mean <= found.high


def test_what_was_done_counts_not_what_was_predicted() -> None:
    truth = np.array([1, 1, 0, 0])
    decided = Decided(np.array([0, 1, 1, 0]), Outcomes(np.array([0.9, 0.9, 0.9, 0.1]), truth), np.arange(4), np.arange(4))
    assert realise(Matrix(**MATRIX), decided, resamples=10).total == -50 + 100 - 5 + 0


def test_rivals_are_ranked_and_the_current_rule_is_one_of_them() -> None:
    truth = chunk(500)
    rule = truth.copy()
    rule[:100] = 0
    found = realise(Matrix(**MATRIX), perfect(truth, rule), resamples=200)
    assert [rival.name for rival in found.rivals] == ["treat all", "the current rule", "treat none"]
    assert found.rivals[1].total == 400 * 100 - 100 * 50 and found.rivals[1].difference == Fraction(15)
    assert found.lead == 50_000 - 47_500 and found.blocks == ("day", 100)


def test_amounts_with_cents_are_written_in_whole_units() -> None:
    """Four right decisions earn 2 x 2.50; treating all earns 2 x 2.50 - 2 x 1.00, treating none -2 x 2.00."""
    truth = np.array([1, 1, 0, 0])
    found = realise(Matrix(true_positive="2.50", false_positive=-1, false_negative=-2), perfect(truth), resamples=10)
    said = found.to_json()
    assert found.lead == 2 and found.money.sum() == found.total
    assert (said["rows"], said["total"], said["per_decision"], said["lead"]) == (4, "5", "1.25", "2")
    assert [(each["name"], each["total"], each["difference"]) for each in said["rivals"]] == [
        ("treat all", "3", "0.5"),
        ("treat none", "-4", "2.25"),
    ]
    assert said["blocks"] == {"of": "request", "count": 4}


def test_the_interval_of_a_lead_is_of_the_difference_to_that_rival() -> None:
    """Treating a row costs 0.25 and brings nothing, so whatever is drawn the model is ahead by just that."""
    found = realise(Matrix(true_positive=1, false_positive="-0.25"), perfect(chunk(0)[:40]), resamples=20)
    ranges = {each.name: (each.low, each.high) for each in found.rivals}
    assert ranges == {"treat all": (Fraction(1, 4), Fraction(1, 4)), "treat none": (0, 0)}


def test_of_few_days_requests_are_drawn() -> None:
    truth = chunk(3)[:100]
    assert realise(Matrix(**MATRIX), perfect(truth), resamples=10).blocks == ("request", 100)
    assert realise(PerUnit(over=1, under=2), perfect(truth.astype(np.float64)), resamples=10).total == 0


def test_without_an_outcome_there_is_nothing_to_say() -> None:
    with pytest.raises(DataError, match="no outcome is known yet"):
        realise(Matrix(**MATRIX), perfect(chunk(0)[:0]))


def test_totals_of_blocks_are_exact_beyond_64_bits() -> None:
    blocks = np.array([7, 3, 7, 3])
    assert block_totals(np.array([1, 2, 3, 4]), blocks).tolist() == [6, 4]
    assert block_totals(np.array([2**62, 2**62, 1, 1]), blocks).tolist() == [2**62 + 1, 2**62 + 1]
    assert block_totals(np.array([2**62, 2**62]), np.array([5, 5])).tolist() == [2**63]
    huge = np.array([2**62, 2**62, 2**62, -1], dtype=object)
    assert block_totals(huge, blocks).tolist() == [2**62 - 1, 2**63]


def test_an_interval_ends_at_values_that_were_drawn() -> None:
    """Of 200 values in order the 5th and the 195th; of ten the first and the last."""
    assert interval(list(range(200, 0, -1))) == (5, 195)
    assert interval(list(range(1, 11))) == (1, 10) and interval([7]) == (7, 7)


def test_means_divide_by_the_rows_that_were_drawn() -> None:
    values, blocks = np.array([10, 20, 30]), np.array([0, 0, 1])
    means = {draw[0] for draw in drawn_means([values], blocks, 100, 0)}
    assert means == {Fraction(15), Fraction(20), Fraction(30)}


def test_rows_that_belong_together_make_the_interval_wider() -> None:
    generator = np.random.default_rng(0)
    blocks = np.repeat(np.arange(50), 20)
    values = np.repeat(generator.integers(-100, 100, 50), 20)
    widths = []
    for labels in (blocks, np.arange(1000)):
        low, high = interval([draw[0] for draw in drawn_means([values], labels, 300, 0)])
        widths.append(high - low)
    assert widths[0] > 3 * widths[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """V4 in small: 1,000 simulations are in benchmarks/value_proofs.py. 150 of them stay within 0.88 and 0.995 but once in 10,000 times."""
    generator, hits = np.random.default_rng(7), 0
    for run in range(150):
        effects = generator.normal(0, 40, 60)
        values = np.rint(np.repeat(effects, 5) + generator.normal(10, 30, 300)).astype(np.int64)
        low, high = interval([draw[0] for draw in drawn_means([values], np.repeat(np.arange(60), 5), 200, run)])
        hits += low <= 10 <= high
    assert 0.88 <= hits / 150 <= 0.995


def test_an_estimate_is_the_sum_of_probability_times_money_exactly() -> None:
    policy, action = Matrix(**MATRIX), np.array([1, 1, 0])
    outcomes = Outcomes(np.array([0.25, 1.0, 0.1]), np.zeros(3, dtype=np.int64))
    assert expected(policy, action, outcomes).tolist() == [21_250_000_000, 100_000_000_000, -5_000_000_000]


def test_a_backtest_says_how_far_estimates_were_off() -> None:
    policy, truth = Matrix(**MATRIX), np.array([1, 0, 0, 0])
    outcomes = Outcomes(np.full(4, 0.5), truth)
    estimates, actual = expected(policy, np.ones(4, np.int64), outcomes), policy.worth(np.ones(4, np.int64), outcomes)
    found = backtest(estimates, actual, policy.scale, np.array([0, 0, 1, 1]))
    # 47.5 were expected each; 100 - 5 and -5 - 5 were earned.
    assert found.bias == Fraction(190 - 85, 4) and found.error == Fraction(abs(95 - 95) + abs(95 + 10), 4) and found.windows == 2


def test_return_present_value_and_payback() -> None:
    flows = [Fraction(-100), Fraction(60), Fraction(60)]
    assert roi(Fraction(150), Fraction(100)) == Fraction(1, 2) and roi(Fraction(1), Fraction(0)) is None
    assert npv(flows, Fraction(0)) == 20 and npv(flows, Fraction(12)) == -100 + 30 + 15
    assert payback_months(flows) == 2 and payback_months(flows[:2]) is None
    assert payback_months([Fraction(5), Fraction(-10), Fraction(20)]) == 2
    assert payback_months([Fraction(-10), Fraction(9), Fraction(1)]) == 2, "a sum of 0 is paid back, one of -1 is not"
    assert payback_months([Fraction(-10), Fraction(10), Fraction(5)]) == 1, "the first such month"


def test_a_tornado_is_sorted_by_swing() -> None:
    inputs = {"a": (Fraction(1), Fraction(2), Fraction(3)), "b": (Fraction(0), Fraction(5), Fraction(9))}
    bars = tornado(inputs, lambda values: values["a"] * 10 - values["b"])
    assert [(bar.name, bar.at_low, bar.at_high) for bar in bars] == [("a", 5, 25), ("b", 20, 11)]
