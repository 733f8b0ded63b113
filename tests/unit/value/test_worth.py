"""What a model is worth: exact figures, honest verdicts, a sentence that a founder understands."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from lode.core.errors import DataError, SpecError
from lode.value.contracts import Outcomes
from lode.value.policies.matrix import Matrix
from lode.value.policies.per_unit import PerUnit
from lode.value.worth import Appraisal, Worth, appraise, sentence

EUR = Worth(currency="EUR")


def rows(num_rows: int, skill: float, seed: int = 0) -> Outcomes:
    """skill 1: predictions are the true probabilities; 0: they know nothing."""
    generator = np.random.default_rng(seed)
    true = generator.random(num_rows)
    truth = (generator.random(num_rows) < true).astype(np.int64)
    return Outcomes(skill * true + (1 - skill) * generator.random(num_rows), truth)


def judged(num_rows: int = 2000, skill: float = 1.0, worth: Worth = EUR, **seconds: Any) -> Appraisal:
    policy = Matrix(true_positive=Decimal("2.50"), false_positive=-1, false_negative=-2)
    policy.fit(rows(num_rows, skill, seed=1))
    outcomes = rows(num_rows, skill, seed=2)
    cruder = np.round(outcomes.prediction)
    return appraise(worth, policy, outcomes, {"linear": policy.act(cruder)}, resamples=200, **seconds)


def test_values_are_exact_sums_by_hand() -> None:
    policy = Matrix(true_positive=Decimal("0.10"), false_positive=Decimal("-0.30"))
    outcomes = Outcomes(np.array([0.9, 0.9, 0.1]), np.array([1, 1, 0]))
    found = appraise(EUR, policy, outcomes, {"other": np.array([1, 0, 0])}, resamples=50)
    assert found.value == Decimal("66.666667")
    by_name = {rival.name: rival for rival in (*found.simple, *found.baselines)}
    assert by_name["treat none"].value == 0 and by_name["treat none"].difference == Decimal("66.666667")
    assert by_name["treat all"].value == Decimal("-33.333333")
    assert by_name["other"].value == Decimal("33.333333")
    assert [rival.name for rival in found.simple] == ["treat none", "treat all"]
    assert found.rows == 3 and found.gross is None and found.net is None and found.costs is None


def test_a_good_model_is_worth_it() -> None:
    found = judged()
    assert found.verdict == "worth it"
    assert found.low < found.value < found.high and found.simple[0].low > 0
    text = sentence(found)
    assert text.startswith("Worth it: the model earns EUR ") and " per 1,000 decisions (95 % interval " in text
    assert f"more than the best simple policy ({found.simple[0].name}), and EUR " in text
    assert text.endswith("the best baseline model (linear).")


def test_a_model_that_does_what_the_simple_policy_does_is_not_worth_it() -> None:
    policy = Matrix(true_positive=5, false_positive=-1)
    outcomes = Outcomes(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 1, 0]))
    found = appraise(EUR, policy, outcomes, {}, resamples=50)
    assert found.verdict == "not worth it" and found.simple[0].difference == 0
    assert sentence(found).endswith('"treat all" earns EUR 3,500, the same or more: don\'t build this model yet.')


def test_a_lead_of_less_than_one_unit_is_a_lead_all_the_same() -> None:
    """200 of 400 rows bring a tenth of a cent, the others cost one: the model earns 0.50 per 1,000, either simple policy nothing."""
    policy = Matrix(true_positive=Decimal("0.001"), false_positive=Decimal("-0.001"))
    truth = np.arange(400) % 2
    found = appraise(EUR, policy, Outcomes(np.where(truth == 1, 0.9, 0.1), truth), {}, resamples=200)
    assert found.value == Decimal("0.5") and 0 < found.simple[0].low < found.simple[0].high < 1
    assert found.verdict == "worth it" and "the model earns EUR 0.50 per 1,000 decisions" in sentence(found)


def test_a_lead_of_less_than_one_unit_that_may_be_none_is_not_proven() -> None:
    """Four rows are left out: two that would have cost, two that would have brought as much."""
    policy = Matrix(true_positive=Decimal("0.001"), false_positive=Decimal("-0.001"))
    prediction, truth = np.full(400, 0.9), np.ones(400, dtype=np.int64)
    prediction[:4], truth[:2] = 0.1, 0
    found = appraise(EUR, policy, Outcomes(prediction, truth), {}, resamples=200)
    assert found.simple[0].name == "treat all" and found.simple[0].difference == 0
    assert found.simple[0].low < 0 < found.simple[0].high < 1 and found.verdict == "not proven"


def test_a_model_that_harms_is_not_worth_it() -> None:
    policy = Matrix(true_positive=5, false_positive=-5)
    outcomes = rows(500, 1.0)
    found = appraise(EUR, policy, Outcomes(1 - outcomes.prediction, outcomes.truth), {}, resamples=100)
    assert found.verdict == "not worth it"
    assert sentence(found).startswith("Not worth it: the model costs EUR ")


def test_few_rows_prove_nothing() -> None:
    policy = Matrix(true_positive=5, false_positive=-5)
    outcomes = Outcomes(np.array([0.9, 0.8, 0.3, 0.6]), np.array([1, 0, 0, 1]))
    found = appraise(EUR, policy, outcomes, {}, resamples=200)
    assert found.simple[0].low <= 0 < found.simple[0].high
    assert found.verdict == "not proven"
    text = sentence(found)
    assert text.startswith("Not proven: ") and "on 4 rows that may be chance (95 % interval of the difference" in text


def test_gross_and_net_are_exact() -> None:
    worth = Worth(currency="USD", decisions=2_000_000, compute_hour=Decimal("3.60"))
    found = judged(worth=worth, training_seconds=Decimal("1000.5"), serving_seconds=Decimal("0.0001"))
    assert found.costs is not None and found.gross is not None
    assert found.costs.training == Decimal("1.0005")
    assert found.costs.serving == Decimal("0.0001")
    assert found.costs.total == Decimal("1.2005")
    assert found.gross == found.value * 2000
    assert found.net == found.gross - Decimal("1.2005")


def test_without_decisions_costs_stand_beside_and_nothing_is_net() -> None:
    found = judged(worth=Worth(currency="USD", compute_hour=Decimal(36)), training_seconds=100, serving_seconds=1)
    assert found.gross is None and found.net is None and found.costs is not None
    assert (found.costs.training, found.costs.serving, found.costs.total) == (1, 10, None)
    assert judged(worth=Worth(currency="USD", decisions=1000)).net is None


def test_computing_that_costs_more_than_the_lead_makes_it_not_worth_it() -> None:
    worth = Worth(currency="EUR", decisions=1000, compute_hour=Decimal(3600))
    found = judged(worth=worth, training_seconds=10**6)
    assert found.verdict == "not worth it" and found.simple[0].low > 0
    text = sentence(found)
    assert text.endswith("while computing costs EUR 1,000,000 for 1,000 decisions: don't build this model yet.")


def test_what_only_costs_is_said_so() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(100, 20, 500)
    policy = PerUnit(over=1, under=2)
    policy.fit(Outcomes(truth + generator.normal(0, 2, 500), truth))
    found = appraise(EUR, policy, Outcomes(truth + generator.normal(0, 2, 500), truth), {}, resamples=100)
    assert found.value < 0 and found.verdict == "worth it"
    assert sentence(found).startswith("Worth it: the model costs EUR ")
    assert "less than the best simple policy (always the same)." in sentence(found)


def test_the_same_seed_gives_the_same_appraisal() -> None:
    assert judged() == judged()


def test_huge_amounts_stay_exact() -> None:
    huge = Decimal("123456789012345678901234.01")
    policy = Matrix(true_positive=huge, false_positive=-huge)
    outcomes = Outcomes(np.array([0.9, 0.1]), np.array([1, 0]))
    found = appraise(EUR, policy, outcomes, {}, resamples=20)
    assert found.value == huge * 500
    assert sentence(found).startswith("Not proven: the model earns EUR 61,728,394,506,172,839,450,617,005 per 1,000")


def test_json_has_amounts_as_strings_and_the_sentence() -> None:
    found = judged(worth=Worth(currency="EUR", decisions=10, compute_hour=Decimal(1)), training_seconds=1)
    plain = json.loads(json.dumps(found.to_json()))
    assert Decimal(plain["value"]) == found.value and Decimal(plain["simple"][0]["low"]) == found.simple[0].low
    assert plain["sentence"] == sentence(found) and plain["verdict"] == found.verdict
    assert set(plain["costs"]) == {"training", "serving", "total"}


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "E1R", "EUR\n"])
def test_a_currency_is_three_capital_letters(currency: str) -> None:
    with pytest.raises(SpecError, match=r"^value\.currency: found "):
        Worth(currency=currency)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"decisions": 0}, "decisions"),
        ({"compute_hour": Decimal(-1)}, "compute_hour"),
        ({"compute_hour": "hour"}, "compute_hour"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecError, match=rf"^value\.{where}: found "):
        Worth(currency="EUR", **options)


def test_no_test_row_is_an_error() -> None:
    with pytest.raises(DataError, match="no test row"):
        appraise(EUR, Matrix(true_positive=1), Outcomes(np.empty(0), np.empty(0, dtype=np.int64)), {})
