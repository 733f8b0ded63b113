"""Evaluation: figures with intervals, beside the baselines, in money, and the plain word where nothing was learnt."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.spec import ValueSpec
from lode.core.types import Component
from lode.pipeline import scoring
from lode.pipeline.evaluate import Evaluation, evaluate, plain
from lode.value.contracts import Outcomes
from lode.value.curve import points, policy_curve

QUICK = Evaluation(resamples=200, repeats=1, importance_rows=100)
MATRIX = Component("matrix", {"true_positive": 2500, "false_positive": -300, "false_negative": -5000})
VALUE = ValueSpec(MATRIX, {"currency": "EUR"})


def judged(trial: Any, value: ValueSpec | None = None, options: Evaluation = QUICK, **facts: Any) -> dict[str, Any]:
    return evaluate(trial.model, trial.baselines, trial.test, value, options, facts)


def probabilities(trial: Any, name: str, model: Any = None) -> np.ndarray:
    chosen = model or trial.model
    inputs = trial.test.select([column.name for column in chosen.columns])
    return scoring.figures(chosen.tasks[name], chosen.scores(inputs)[name])


def valued(trial: Any) -> Any:
    """The same trial with a policy fitted on the training rows, for the model and for each baseline."""
    trial = copy.copy(trial)

    def fitted(model: Any) -> Any:
        model = copy.copy(model)
        inputs = trial.train.select([column.name for column in model.columns])
        said = scoring.figures(model.tasks["diagnosis"], model.scores(inputs)["diagnosis"])
        model.policy = REGISTRIES["policy"].create(MATRIX)
        model.policy.fit(Outcomes(said, 1 - trial.train["diagnosis"].to_numpy()))
        return model

    return trial.but(model=fitted(trial.model), baselines={name: fitted(other) for name, other in trial.baselines.items()})


def test_metrics_of_a_binary_output_equal_those_of_scikit_learn_with_the_value_inside_its_interval(cancer: Any) -> None:
    record = judged(cancer)["outputs"]["diagnosis"]
    said, target = probabilities(cancer, "diagnosis"), 1 - cancer.test["diagnosis"].to_numpy()
    assert record["metrics"]["auc"]["value"] == pytest.approx(metrics.roc_auc_score(target, said))
    assert record["metrics"]["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(target, said >= 0.5))
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in record["metrics"].values())
    assert set(record["metrics"]["auc"]["baselines"]) == {"constant", "linear"}


def test_the_paired_difference_is_to_the_best_baseline_and_counts_better_as_positive(cancer: Any) -> None:
    record = judged(cancer)["outputs"]["diagnosis"]
    against, auc = record["against"], record["metrics"]["auc"]
    assert against["baseline"] == "linear"
    assert against["difference"] == pytest.approx(auc["value"] - auc["baselines"]["linear"]["value"])
    assert 0 < against["low"] <= against["difference"] <= against["high"]


def test_where_less_is_better_a_smaller_figure_is_a_positive_difference(cancer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(cancer.model.tasks["diagnosis"]), "metrics", ("log_loss", "auc"))
    record = judged(cancer)["outputs"]["diagnosis"]
    assert record["against"]["metric"] == "log_loss"
    assert record["against"]["low"] > 0
    assert record["learnt"]
    assert "log loss" in record["sentence"]


def test_random_labels_are_reported_as_nothing_learnt(noise: Any) -> None:
    report = judged(noise)
    assert report["learnt"] is False
    assert report["headline"].startswith("Nothing was learnt: on 30 test rows AUC is")
    assert any("only 30 test rows" in text for text in report["warnings"])


def test_a_constant_model_has_learnt_nothing_for_every_kind_of_output(cancer: Any, digits: Any, diabetes: Any) -> None:
    for trial in (cancer, digits, diabetes):
        report = judged(trial.but(model=trial.baselines["constant"]))
        assert report["headline"].startswith("Nothing was learnt:"), report["headline"]


@pytest.mark.parametrize("name", ["cancer", "digits", "diabetes"])
def test_a_model_that_learnt_is_not_accused_even_without_a_constant_baseline(name: str, request: pytest.FixtureRequest) -> None:
    trial = request.getfixturevalue(name)
    assert judged(trial.but(baselines={}))["learnt"] is True


def test_accuracy_below_the_majority_share_is_nothing_learnt(make_model: Any, make_task: Any) -> None:
    generator = np.random.default_rng(0)
    test = pl.DataFrame({"x": generator.random(300), "y": generator.choice(["a", "b", "c"], 300, p=[0.9, 0.05, 0.05])})
    task = make_task("multiclass", test["y"].to_numpy())
    model = make_model(task, "y", ["x"], lambda frame: generator.normal(size=(frame.height, 3)))
    assert evaluate(model, {}, test, None, QUICK, {})["learnt"] is False


def test_the_headline_without_a_value_names_rows_figure_interval_and_the_best_baseline(cancer: Any) -> None:
    headline = judged(cancer)["headline"]
    assert headline.startswith('On 169 test rows the model ranks a row with diagnosis "0" above one with "1" 9')
    assert "95 % interval" in headline
    assert headline.endswith("the model is clearly better.")
    assert "the best baseline, linear, reaches" in headline


def test_with_a_value_block_the_headline_is_its_sentence_and_the_block_holds_every_rival(cancer: Any) -> None:
    trial = valued(cancer)
    report = judged(trial, VALUE)
    value = report["value"]
    assert report["headline"] == value["sentence"]
    assert {rival["name"] for rival in value["simple"]} == {"treat all", "treat none"}
    assert {rival["name"] for rival in value["baselines"]} == {"constant", "linear"}
    said, target = probabilities(trial, "diagnosis", trial.model), 1 - trial.test["diagnosis"].to_numpy()
    action = trial.model.policy.act(said)
    money = 2500 * (action & target) - 300 * (action & (1 - target)) - 5000 * ((1 - action) & target)
    assert Decimal(value["value"]) == round(Decimal(int(money.sum())) * 1000 / len(money), 6)


def test_the_confusion_of_a_valued_output_is_at_the_threshold_of_its_policy(cancer: Any) -> None:
    trial = valued(cancer)
    record = judged(trial, VALUE)["outputs"]["diagnosis"]
    said, target = probabilities(trial, "diagnosis", trial.model), 1 - trial.test["diagnosis"].to_numpy()
    threshold = trial.model.policy.threshold
    assert record["threshold"] == threshold != 0.5
    assert record["confusion"]["matrix"] == metrics.confusion_matrix(target, said >= threshold).tolist()


def test_profit_curves_of_both_splits_and_costs_of_computing_are_in_the_value_block(cancer: Any) -> None:
    trial = valued(cancer)
    inputs = trial.train.select([column.name for column in trial.model.columns])
    said = scoring.figures(trial.model.tasks["diagnosis"], trial.model.scores(inputs)["diagnosis"])
    curve = points(policy_curve(trial.model.policy, Outcomes(said, 1 - trial.train["diagnosis"].to_numpy())))
    priced = ValueSpec(MATRIX, {"currency": "EUR", "decisions": 1000, "compute_hour": "3.60"})
    value = judged(trial, priced, profit_curve=curve, training_seconds=1000, serving_seconds=0.5)["value"]
    assert set(value["curves"]) == {"chosen on", "test"}
    assert Decimal(value["costs"]["total"]) == Decimal("1.5")
    assert Decimal(value["net"]) == Decimal(value["gross"]) - Decimal("1.5")


def test_a_model_that_learnt_nothing_says_so_before_it_says_what_it_is_worth(cancer: Any) -> None:
    trial = valued(cancer)
    report = judged(trial.but(model=trial.baselines["constant"]), VALUE)
    assert report["headline"].startswith("Nothing was learnt:")
    assert report["headline"].endswith(report["value"]["sentence"])


def test_multiclass_confusion_and_figures_of_each_class_equal_scikit_learn(digits: Any) -> None:
    record = judged(digits)["outputs"]["digit"]
    said, target = probabilities(digits, "digit").argmax(1), digits.test["digit"].to_numpy()
    assert record["confusion"]["matrix"] == metrics.confusion_matrix(target, said).tolist()
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(target, said)
    for code, entry in enumerate(record["confusion"]["per_class"]):
        expected = pytest.approx([precision[code], recall[code], f1[code], rows[code]])
        assert [entry["precision"], entry["recall"], entry["f1"], entry["rows"]] == expected


def test_a_number_has_residuals_and_points_in_its_own_unit(diabetes: Any) -> None:
    record = judged(diabetes)["outputs"]["progression"]
    said, truth = probabilities(diabetes, "progression"), diabetes.test["progression"].to_numpy()
    assert record["metrics"]["r2"]["value"] == pytest.approx(metrics.r2_score(truth, said), abs=1e-6)
    assert record["points"]["truth"] == truth.tolist()
    assert record["residuals"]["quantiles"]["0.5"] == pytest.approx(np.median(said - truth))
    counted = sum(record["residuals"]["histogram"]["rows"]) + record["residuals"]["outside"]
    assert counted == len(truth)


def test_curves_lie_on_those_of_scikit_learn(cancer: Any) -> None:
    curves = judged(cancer)["outputs"]["diagnosis"]["curves"]
    said, target = probabilities(cancer, "diagnosis"), 1 - cancer.test["diagnosis"].to_numpy()
    assert metrics.auc(**axes(curves["roc"])) == pytest.approx(metrics.roc_auc_score(target, said), abs=1e-3)
    precision, recall, _ = metrics.precision_recall_curve(target, said)
    known = set(zip(recall.round(9), precision.round(9), strict=True))
    found = zip(
        np.round(curves["precision_recall"]["recall"], 9),
        np.round(curves["precision_recall"]["precision"], 9),
        strict=True,
    )
    assert set(found) <= known


def axes(curve: dict[str, list[float]]) -> dict[str, list[float]]:
    return {"x": curve["false_positive_rate"], "y": curve["true_positive_rate"]}


def test_the_temperature_of_the_model_is_used_and_shown_with_the_error_without_it(cancer: Any) -> None:
    cold = copy.copy(cancer.model)
    cold.temperatures = {"diagnosis": 0.05}
    plainly, sharpened = judged(cancer), judged(cancer.but(model=cold))
    before, after = (report["outputs"]["diagnosis"]["calibration"] for report in (plainly, sharpened))
    assert after["temperature"] == 0.05
    assert after["error_before"] == before["error"] != after["error"]
    assert (
        sharpened["outputs"]["diagnosis"]["metrics"]["log_loss"]["value"]
        > plainly["outputs"]["diagnosis"]["metrics"]["log_loss"]["value"]
    )


def test_the_worst_mistakes_are_the_most_confident_ones_with_their_raw_rows(cancer: Any) -> None:
    worst = judged(cancer)["outputs"]["diagnosis"]["worst"]
    said, target = probabilities(cancer, "diagnosis"), 1 - cancer.test["diagnosis"].to_numpy()
    confidence = np.where(said >= 0.5, said, 1 - said)
    wrong = np.flatnonzero((said >= 0.5) != target)
    expected = wrong[np.argsort(-confidence[wrong])][:10]
    assert [item["row"] for item in worst] == cancer.test["__row__"].to_numpy()[expected].tolist()
    assert worst and all(item["truth"] != item["answer"] for item in worst)


def test_several_outputs_are_judged_each_and_the_headline_speaks_of_the_first(cancer: Any) -> None:
    both = copy.copy(cancer.model)
    task, scorer = cancer.model.tasks["diagnosis"], cancer.model.scorers["diagnosis"]
    both.tasks, both.scorers = (
        {"diagnosis": task, "copy": task},
        {"diagnosis": scorer, "copy": cancer.baselines["constant"].scorers["diagnosis"]},
    )
    test = cancer.test.with_columns(pl.col("diagnosis").alias("copy"))
    report = evaluate(both, {}, test, None, QUICK, {})
    assert list(report["outputs"]) == ["diagnosis", "copy"]
    assert report["headline"].startswith("diagnosis: On 169 test rows")
    assert any(text.startswith("copy: Nothing was learnt") for text in report["warnings"])


def test_rows_without_a_usable_label_are_left_out_and_counted(cancer: Any) -> None:
    labels = cancer.test["diagnosis"].to_list()
    test = cancer.test.with_columns(pl.Series("diagnosis", [None, 7, *labels[2:]]))
    report = judged(cancer.but(test=test))
    record = report["outputs"]["diagnosis"]
    assert (record["rows"], record["unlabelled"]) == (167, 2)
    assert any("2 test rows have no label" in text for text in report["warnings"])


def test_no_test_rows_is_an_error_that_says_what_to_do(cancer: Any) -> None:
    with pytest.raises(DataError, match=r"data\.split\.test: no test rows, .* Give a larger share"):
        judged(cancer.but(test=cancer.test.clear()))


def test_no_usable_label_at_all_is_an_error_that_names_the_output(cancer: Any) -> None:
    test = cancer.test.with_columns(pl.lit("other").alias("diagnosis"))
    with pytest.raises(DataError, match=r"outputs\.diagnosis: no label that training saw in 169 test rows"):
        judged(cancer.but(test=test))


def test_one_class_among_the_test_rows_leaves_the_ranking_undefined_not_the_report(cancer: Any) -> None:
    report = judged(cancer.but(test=cancer.test.filter(pl.col("diagnosis") == 1)))
    record = report["outputs"]["diagnosis"]
    assert record["metrics"]["auc"]["value"] is None
    assert record["curves"] is None
    assert any("AUC is undefined" in text for text in report["warnings"])


def test_the_same_seed_gives_the_same_report_and_another_seed_other_intervals(cancer: Any) -> None:
    first, second = judged(cancer), judged(cancer)
    assert json.dumps(first) == json.dumps(second)
    other = judged(cancer, None, Evaluation(resamples=200, repeats=1, importance_rows=100, seed=1))
    assert other["outputs"]["diagnosis"]["metrics"]["auc"]["low"] != first["outputs"]["diagnosis"]["metrics"]["auc"]["low"]


def test_the_report_is_strict_json(noise: Any) -> None:
    report = judged(noise, name="noise", run="abc", rows={"train": 70}, spread=float("nan"), cost=Decimal("0.10"))
    json.dumps(report, allow_nan=False)
    assert report["rows"] == {"train": 70, "test": 30}
    assert report["facts"] == {"spread": None, "cost": "0.10"}


def test_plain_turns_arrays_and_infinities_into_json() -> None:
    found = plain({"a": np.array([1.0, np.inf]), "b": (np.int64(3), True), 4: None})
    assert found == {"a": [1.0, None], "b": [3, True], "4": None}


def test_importance_is_left_out_on_request_and_for_a_single_input(cancer: Any, noise: Any) -> None:
    without = Evaluation(resamples=100, importance=False)
    assert "importance" not in judged(cancer, None, without)["outputs"]["diagnosis"]
    assert "importance" not in judged(noise)["outputs"]["label"]
    assert "importance" in judged(cancer)["outputs"]["diagnosis"]
