"""Fairness: figures of groups as worked out by hand and by numpy, gaps that are surely there, and what must change nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.spec import ValueSpec
from lode.core.types import Component
from lode.pipeline import fairness, scoring, wording
from lode.pipeline.audits import fair
from lode.pipeline.evaluate import Evaluation, evaluate
from lode.pipeline.report import html
from lode.value.contracts import Outcomes


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def of(column: list[Any] | pl.Series, figures: dict[str, fairness.Figure], resamples: int = 300) -> dict[str, Any]:
    frame = pl.DataFrame({"who": column})
    return fairness.audit(frame, ["who"], figures, resamples=resamples, seed=0)[0]


def people(generator: np.random.Generator, num_rows: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Group, P(positive), answer, truth; group c is favoured."""
    who = generator.choice(["a", "b", "c"], num_rows, p=[0.5, 0.3, 0.2])
    chance = np.clip(generator.random(num_rows) + 0.3 * (who == "c"), 0, 1)
    target = (generator.random(num_rows) < chance).astype(np.int64)
    return who, chance, (chance >= 0.6).astype(np.int64), target


def group(record: dict[str, Any], name: str | None) -> dict[str, Any]:
    return next(entry for entry in record["groups"] if entry["group"] == name)


def test_a_worked_example() -> None:
    """Of a: 40 rows, 20 selected, 20 truly so, 15 of them selected. Of b: 40 rows, 8 selected, 20 truly so, 5 of them selected."""
    target = np.tile([1] * 20 + [0] * 20, 2)
    answer = np.array([1] * 15 + [0] * 5 + [1] * 5 + [0] * 15 + [1] * 5 + [0] * 15 + [1] * 3 + [0] * 17)
    chance = np.where(answer, 0.75, 0.25)
    record = of(["a"] * 40 + ["b"] * 40, fairness.decisions(chance, answer, target))
    a, b = ({word: entry["value"] for word, entry in group(record, name)["figures"].items()} for name in "ab")
    assert a == {
        "base_rate": 0.5,
        "selection_rate": 0.5,
        "true_positive_rate": 0.75,
        "false_positive_rate": 0.25,
        "calibration": 0.0,
    }
    assert b == pytest.approx({"base_rate": 0.5, "selection_rate": 0.2, "true_positive_rate": 0.25, "false_positive_rate": 0.15,
                               "calibration": -0.15})  # fmt: skip
    gap = record["gaps"]["selection_rate"]
    assert (gap["difference"], gap["higher"], gap["lower"], gap["sure"]) == (pytest.approx(0.3), "a", "b", True)
    assert record["ratio"]["value"] == pytest.approx(0.4)
    # Only 20 rows stand below each of these rates: shown, never judged.
    assert {"true_positive_rate", "false_positive_rate", "equalized_odds"}.isdisjoint(record["gaps"])


def test_every_figure_equals_a_formula_of_its_own(rng: np.random.Generator) -> None:
    who, chance, answer, target = people(rng)
    record = of(who.tolist(), fairness.decisions(chance, answer, target))
    rates: dict[str, list[float]] = {"selection": [], "tpr": [], "fpr": []}
    for name in "abc":
        inside, figures = who == name, group(record, name)["figures"]
        said, true = answer[inside], target[inside]
        rates["selection"].append(said.mean())
        rates["tpr"].append(said[true == 1].mean())
        rates["fpr"].append(said[true == 0].mean())
        assert figures["selection_rate"]["value"] == pytest.approx(said.mean())
        assert figures["true_positive_rate"]["value"] == pytest.approx(said[true == 1].mean())
        assert figures["false_positive_rate"]["value"] == pytest.approx(said[true == 0].mean())
        assert figures["calibration"]["value"] == pytest.approx(chance[inside].mean() - true.mean())
        assert figures["true_positive_rate"]["rows"] == true.sum()
        assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in figures.values())
    gaps = {word: gap["difference"] for word, gap in record["gaps"].items()}
    assert gaps["selection_rate"] == pytest.approx(np.ptp(rates["selection"]))
    assert gaps["true_positive_rate"] == pytest.approx(np.ptp(rates["tpr"]))
    assert gaps["equalized_odds"] == pytest.approx(max(np.ptp(rates["tpr"]), np.ptp(rates["fpr"])))
    assert record["ratio"]["value"] == pytest.approx(min(rates["selection"]) / max(rates["selection"]))


def test_the_interval_of_two_groups_is_that_of_two_independent_shares(rng: np.random.Generator) -> None:
    answer = np.r_[rng.random(2000) < 0.5, rng.random(1000) < 0.4].astype(np.int64)
    gap = of(["a"] * 2000 + ["b"] * 1000, fairness.decisions(answer * 1.0, answer, answer), 2000)["gaps"]["selection_rate"]
    error = np.sqrt(answer[:2000].var() / 2000 + answer[2000:].var() / 1000)
    assert gap["high"] - gap["low"] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_equalized_odds_are_surely_off_where_either_rate_is() -> None:
    """The true positive rates differ by more, of few positives; the false positive rates differ surely."""
    target = np.r_[np.ones(32), np.zeros(2000), np.ones(32), np.zeros(2000)].astype(np.int64)
    shares = ((16, 32), (200, 2000), (11, 32), (20, 2000))
    answer = np.concatenate([np.arange(rows) < yes for yes, rows in shares]).astype(np.int64)
    record = of(["a"] * 2032 + ["b"] * 2032, fairness.decisions(answer * 1.0, answer, target), 200)
    gaps = record["gaps"]
    assert not gaps["true_positive_rate"]["sure"] and gaps["false_positive_rate"]["sure"]
    odds = gaps["equalized_odds"]
    assert odds["sure"] and odds["figure"] == "true_positive_rate" and odds["surest"]["figure"] == "false_positive_rate"
    shown = str(fair({"fairness": {"favourable": "yes", "columns": [{"column": "who", **record}]}}))
    assert "yes, false positive rate, a over b: 0.090 [" in shown


def test_many_groups_without_a_difference_seldom_show_one() -> None:
    """Ten groups make 45 pairs: intervals of one pair alone would find a gap in most draws."""
    found = 0
    for seed in range(20):
        answer = np.random.default_rng(seed).integers(0, 2, 1000)
        record = of([f"g{place % 10}" for place in range(1000)], fairness.decisions(answer * 1.0, answer, answer), 200)
        found += record["gaps"]["selection_rate"]["sure"]
    assert found <= 3


def test_the_order_of_rows_and_groups_and_their_names_change_nothing(rng: np.random.Generator) -> None:
    who, chance, answer, target = people(rng)
    plain = of(who.tolist(), fairness.decisions(chance, answer, target))
    names = {"a": "z", "b": "y", "c": "x"}
    renamed = of([names[name] for name in who], fairness.decisions(chance, answer, target))
    for word, gap in plain["gaps"].items():
        other = renamed["gaps"][word]
        assert (names[gap["higher"]], names[gap["lower"]]) == (other["higher"], other["lower"])
        assert [gap[key] for key in ("difference", "low", "high", "sure")] == [
            other[key] for key in ("difference", "low", "high", "sure")
        ]
    order = rng.permutation(len(who))
    moved = of(who[order].tolist(), fairness.decisions(chance[order], answer[order], target[order]))
    for word, gap in plain["gaps"].items():
        assert moved["gaps"][word]["difference"] == pytest.approx(gap["difference"])


def test_the_favourable_answer_may_be_the_negative_one(rng: np.random.Generator) -> None:
    who, chance, answer, target = people(rng)
    refused = of(who.tolist(), fairness.decisions(chance, answer, target, "negative"))
    turned = of(who.tolist(), fairness.decisions(1 - chance, 1 - answer, 1 - target))
    assert refused == turned
    assert group(refused, "a")["figures"]["selection_rate"]["value"] == pytest.approx(1 - answer[who == "a"].mean())


def test_four_fifths_is_only_surely_violated_where_the_whole_interval_lies_below() -> None:
    def ratio(num_rows: int, lower: float) -> dict[str, Any]:
        answer = np.r_[np.arange(num_rows) < num_rows // 2, np.arange(num_rows) < lower * num_rows].astype(np.int64)
        found: dict[str, Any] = of(["a"] * num_rows + ["b"] * num_rows, fairness.decisions(answer * 1.0, answer, answer))["ratio"]
        return found

    few, many, fine = ratio(50, 0.34), ratio(2000, 0.34), ratio(2000, 0.45)
    assert few["value"] == many["value"] == pytest.approx(0.68)
    assert few["below"] == [] and few["low"] < 0.68 < 0.8 < few["high"]
    assert [entry["group"] for entry in many["below"]] == ["b"] and many["high"] < 0.8
    assert fine["below"] == []


def test_nothing_selected_is_no_certainty() -> None:
    """None of 40 is selected in every resample, too: that alone must not prove a gap to 1 % of 1,000."""
    answer = np.r_[np.zeros(40), np.arange(1000) < 10].astype(np.int64)
    record = of(["a"] * 40 + ["b"] * 1000, fairness.decisions(answer * 1.0, answer, answer))
    assert not record["gaps"]["selection_rate"]["sure"]
    assert record["ratio"]["value"] == 0.0 and record["ratio"]["below"] == []
    shown = group(record, "a")["figures"]["selection_rate"]
    assert (shown["value"], shown["low"]) == (0.0, 0.0) and 0.05 < shown["high"] < 0.15
    none = np.zeros(100, np.int64)
    record = of(["a", "b"] * 50, fairness.decisions(none * 1.0, none, none))
    assert record["ratio"] is None and record["gaps"]["selection_rate"]["difference"] == 0.0


def test_small_groups_are_shown_and_not_judged_and_missing_cells_are_a_group(rng: np.random.Generator) -> None:
    answer = rng.integers(0, 2, 200)
    record = of(["a"] * 100 + [None] * 71 + ["few"] * 29, fairness.decisions(answer * 1.0, answer, answer))
    assert [(entry["group"], entry["rows"], entry["judged"]) for entry in record["groups"]] == [
        ("a", 100, True), ("few", 29, False), (None, 71, True),
    ]  # fmt: skip
    assert {record["gaps"]["selection_rate"][key] for key in ("higher", "lower")} == {"a", None}
    alone = of(["a"] * 171 + ["few"] * 29, fairness.decisions(answer * 1.0, answer, answer))
    assert alone["gaps"] == {} and alone["ratio"] is None


def test_numbers_and_several_classes_are_compared_too(rng: np.random.Generator) -> None:
    prediction, target = rng.normal(size=200), rng.normal(size=200)
    prediction[100:] += 1.0
    record = of(["a"] * 100 + ["b"] * 100, fairness.numbers(prediction, target))
    error = prediction - target
    assert group(record, "b")["figures"]["bias"]["value"] == pytest.approx(error[100:].mean())
    assert group(record, "b")["figures"]["absolute_error"]["value"] == pytest.approx(np.abs(error[100:]).mean())
    assert record["gaps"]["bias"]["sure"] and record["ratio"] is None
    said, true = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    record = of(["a"] * 100 + ["b"] * 100, fairness.classes(said, true, ("x", "y", "z")))
    figures = group(record, "a")["figures"]
    assert figures["accuracy"]["value"] == pytest.approx((said == true)[:100].mean())
    assert figures["answer: z"]["value"] == pytest.approx((said == 2)[:100].mean())
    assert set(record["gaps"]) == {"accuracy", "answer: x", "answer: y", "answer: z"}


def audited(trial: Any, value: ValueSpec | None = None, **options: Any) -> dict[str, Any]:
    wanted = Evaluation(resamples=200, importance=False, **{"protected": ["group"], **options})
    return evaluate(trial.model, trial.baselines, trial.test, value, wanted, {})


@pytest.fixture
def grouped(cancer: Any) -> Any:
    """The patients, with a group that the model does not see: the older half of the tumours by size, as a number of many values."""
    size = cancer.test["mean radius"]
    words = pl.Series("group", ["large" if radius > 13 else "small" for radius in size])
    return cancer.but(test=cancer.test.with_columns(words, size.alias("radius again")))


def test_a_model_is_audited_by_a_column_that_it_does_not_see_at_the_decisions_that_it_takes(grouped: Any) -> None:
    report = audited(grouped)
    record = report["outputs"]["diagnosis"]["fairness"]
    assert record["favourable"] == "0"
    (column,) = record["columns"]
    inputs = grouped.test.select([entry.name for entry in grouped.model.columns])
    answer = (grouped.model.scores(inputs)["diagnosis"].ravel() >= 0).astype(int)
    large = (grouped.test["group"] == "large").to_numpy()
    assert group(column, "large")["figures"]["selection_rate"]["value"] == pytest.approx(answer[large].mean())
    assert any("four-fifths rule, 29 CFR 1607.4(D)" in text and "small" in text for text in report["warnings"])
    assert audited(grouped, favourable="negative")["outputs"]["diagnosis"]["fairness"]["favourable"] == "1"


def test_with_a_value_block_the_policys_threshold_decides_and_every_group_has_its_money(grouped: Any) -> None:
    policy = REGISTRIES["policy"].create(Component("matrix", {"true_positive": 100, "false_positive": -10, "false_negative": -500}))
    inputs = grouped.test.select([entry.name for entry in grouped.model.columns])
    said = scoring.figures(grouped.model.tasks["diagnosis"], grouped.model.scores(inputs)["diagnosis"])
    target = 1 - grouped.test["diagnosis"].to_numpy()
    policy.fit(Outcomes(said, target))
    grouped.model.policy = policy
    try:
        report = audited(grouped, ValueSpec(Component("matrix", {}), {"currency": "EUR"}))
    finally:
        grouped.model.policy = None
    (column,) = report["outputs"]["diagnosis"]["fairness"]["columns"]
    act, large = said >= policy.threshold, (grouped.test["group"] == "large").to_numpy()
    money = np.where(act, np.where(target, 100, -10), np.where(target, -500, 0))
    assert policy.threshold != 0.5
    assert group(column, "large")["figures"]["selection_rate"]["value"] == pytest.approx(act[large].mean())
    assert group(column, "large")["figures"]["value"]["value"] == pytest.approx(1000 * money[large].mean())


def test_a_number_of_many_values_is_cut_into_quarters_and_an_unknown_column_is_named(grouped: Any) -> None:
    (column,) = audited(grouped, protected=["radius again"])["outputs"]["diagnosis"]["fairness"]["columns"]
    assert len(column["groups"]) == 4
    with pytest.raises(DataError, match=r'evaluate\.protected: column "grup" is not among the test rows\. Did you mean "group"'):
        audited(grouped, protected=["grup"])


def test_without_protected_columns_nothing_is_said_of_fairness(cancer: Any) -> None:
    assert "fairness" not in evaluate(cancer.model, {}, cancer.test, None, Evaluation(resamples=100), {})["outputs"]["diagnosis"]


def test_the_page_says_which_gaps_are_surely_there_and_that_law_is_another_matter(grouped: Any) -> None:
    page = html(audited(grouped))
    assert "Do groups of people get the same?" in page and "demographic parity difference" in page
    assert "Surely there by group: selection rate 0" in page and re.search(
        r"selection rate 0\.\d+ for large, 0\.\d+ for small", page
    )
    assert "large over small" in page and "surely below four fifths: small" in page
    assert "neither proves nor disproves discrimination in law" in page
    assert wording.shown(None) == "(missing)"
