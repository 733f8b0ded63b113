"""Robustness: what damaged inputs cost, on the same rows, in the metric and in money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.registry import REGISTRIES
from lode.core.spec import ValueSpec
from lode.core.types import Component
from lode.pipeline.evaluate import Evaluation, evaluate
from lode.pipeline.report import html
from lode.value.contracts import Outcomes


@pytest.fixture
def table(make_task: Any, make_model: Any) -> tuple[Any, pl.DataFrame]:
    """y is decided by a; b is not read; c is a category that helps. A missing or unknown cell says nothing."""
    generator = np.random.default_rng(0)
    a, c = generator.normal(size=600), generator.choice(["red", "blue"], 600)
    target = (a + (c == "red") > 0.5).astype(int)
    frame = pl.DataFrame({"a": a, "b": generator.normal(size=600), "c": c, "y": target.astype(str)})
    task = make_task("binary", frame["y"].to_numpy(), positive="1")

    def score(part: pl.DataFrame) -> np.ndarray:
        said: np.ndarray = part.select(4 * (pl.col("a").fill_null(0) + (pl.col("c") == "red").fill_null(False) - 0.5)).to_numpy()
        return said

    return make_model(task, "y", ["a", "b", "c"], score, {"c": "category"}), frame


def damaged(table: tuple[Any, pl.DataFrame], value: ValueSpec | None = None, **options: Any) -> dict[str, Any]:
    model, frame = table
    wanted = Evaluation(**{"resamples": 200, "importance": False, "robustness": True, **options})
    report = evaluate(model, {}, frame, value, wanted, {})
    return {**report["outputs"]["y"]["robustness"], "report": report}


def by_word(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{entry['damage']} {'+'.join(entry['inputs'])}": entry for entry in record["damages"]}


def test_every_damage_that_fits_is_done_and_the_worst_comes_first(table: Any) -> None:
    record = damaged(table)
    assert set(by_word(record)) == {
        "absent a", "absent b", "absent c", "missing a+b+c", "noise a+b", "units a+b", "unseen c",
    }  # fmt: skip
    drops = [entry["drop"] for entry in record["damages"]]
    assert drops == sorted(drops, reverse=True)
    assert record["damages"][0]["inputs"] == ["a"] and record["damages"][0]["drop_low"] > 0


def test_an_input_that_is_not_read_costs_nothing_when_it_is_missing(table: Any) -> None:
    entry = by_word(damaged(table))["absent b"]
    assert (entry["drop"], entry["drop_low"], entry["drop_high"], entry["collapsed"]) == (0.0, 0.0, 0.0, False)


def test_a_figure_is_that_of_the_damaged_rows_and_its_drop_the_difference(table: Any) -> None:
    from sklearn.metrics import roc_auc_score

    model, frame = table
    record = damaged(table)
    entry = by_word(record)["absent c"]
    blind = frame.select("a", "b", pl.lit(None, pl.String).alias("c"))
    assert entry["value"] == pytest.approx(roc_auc_score(frame["y"].cast(int), model.scores(blind)["y"].ravel()))
    assert entry["drop"] == pytest.approx(record["value"] - entry["value"])
    assert entry["drop_low"] <= entry["drop"] <= entry["drop_high"] and entry["low"] <= entry["value"] <= entry["high"]


def test_where_less_is_better_a_drop_is_still_positive(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(table[0].tasks["y"]), "metrics", ("log_loss",))
    entry = by_word(damaged(table))["absent a"]
    assert entry["drop_low"] > 0 and entry["drop"] > 0


def test_a_list_chooses_damages_and_their_options_and_a_draw_depends_on_nothing_else(table: Any) -> None:
    every = by_word(damaged(table))
    (alone,) = damaged(table, robustness=[Component("noise")])["damages"]
    assert alone == every["noise a+b"]
    (strong,) = damaged(table, robustness=[Component("noise", {"deviation": 3.0})])["damages"]
    assert strong["drop"] > alone["drop"]
    assert damaged(table)["damages"] == damaged(table)["damages"]
    assert by_word(damaged(table, seed=1))["missing a+b+c"] != every["missing a+b+c"]


def test_what_fits_no_input_is_left_out_without_a_word(table: Any) -> None:
    report = evaluate(*_with(table), Evaluation(resamples=100, importance=False, robustness=[Component("typos")]), {})
    assert "robustness" not in report["outputs"]["y"]


def _with(table: Any) -> tuple[Any, dict[str, Any], pl.DataFrame, None]:
    return table[0], {}, table[1], None


def test_one_input_alone_is_not_taken_away(make_task: Any, make_model: Any) -> None:
    frame = pl.DataFrame({"a": np.linspace(-1, 1, 100), "y": ["0"] * 50 + ["1"] * 50})
    task = make_task("binary", frame["y"].to_numpy(), positive="1")
    model = make_model(task, "y", ["a"], lambda part: part["a"].fill_null(0).to_numpy())
    assert {entry["damage"] for entry in damaged((model, frame))["damages"]} == {"missing", "noise", "units"}


def test_rows_are_bounded(table: Any) -> None:
    seen: list[int] = []
    model, _ = table
    scores = model.scores
    model_type = type(model)

    class Counting(model_type):  # type: ignore[valid-type, misc]
        def scores(self, frame: pl.DataFrame) -> Any:
            seen.append(frame.height)
            return scores(frame)

    counting = Counting(model.columns, model.tasks, model.scorers)
    record = damaged((counting, table[1]), robustness_rows=50)
    assert record["rows"] == 50 and set(seen[1:]) == {50}


def test_a_collapse_is_a_warning(table: Any) -> None:
    """Without `a` the model always answers yes, as it would be worse than the constant answer."""
    model, frame = table
    task = model.tasks["y"]
    columns = model.columns

    def score(part: pl.DataFrame) -> np.ndarray:
        said: np.ndarray = part.select(4 * pl.col("a").fill_null(-5.0) * (2 * (pl.col("a").is_not_null()) - 1)).to_numpy()
        return said

    broken = type(model)(columns, {"y": task}, {"y": lambda part: np.where(part["a"].is_null(), 0.0, score(part).ravel())})
    record = damaged((broken, frame))
    entry = by_word(record)["absent a"]
    assert entry["value"] == record["constant"] == 0.5 and entry["collapsed"]
    assert any(text.startswith("y: no better than the same answer for every row (0.5) with a whole input missing (a): AUC")
               for text in record["report"]["warnings"])  # fmt: skip
    page = html(record["report"])
    assert "What if its inputs are damaged?" in page and "Loses most with a whole input missing (a)" in page


def test_what_a_damage_costs_is_exact_money_per_thousand_decisions(table: Any) -> None:
    model, frame = table
    policy = REGISTRIES["policy"].create(Component("matrix", {"true_positive": "2.5", "false_positive": -1, "false_negative": -5}))
    target = frame["y"].cast(int).to_numpy()

    def chance(part: pl.DataFrame) -> np.ndarray:
        said: np.ndarray = 1 / (1 + np.exp(-model.scores(part.select("a", "b", "c"))["y"].ravel().astype(np.float64)))
        return said

    policy.fit(Outcomes(chance(frame), target))
    model.policy = policy
    entry = by_word(damaged(table, ValueSpec(Component("matrix", {}), {"currency": "EUR"})))["absent a"]["money"]

    def worth(part: pl.DataFrame) -> Decimal:
        act = chance(part) >= policy.threshold
        money = np.where(act, np.where(target, 2.5, -1.0), np.where(target, -5.0, 0.0)).sum()
        return Decimal(str(money)) * 1000 / 600

    blind = worth(frame.with_columns(pl.lit(None, pl.Float64).alias("a")))
    assert Decimal(entry["value"]) == pytest.approx(blind, abs=Decimal("1e-6"))
    assert Decimal(entry["cost"]) == pytest.approx(worth(frame) - blind, abs=Decimal("1e-6"))
    assert Decimal(entry["low"]) <= Decimal(entry["cost"]) <= Decimal(entry["high"])
    model.policy = None


def test_nothing_is_damaged_unless_it_is_asked_for(cancer: Any) -> None:
    assert "robustness" not in evaluate(cancer.model, {}, cancer.test, None, Evaluation(resamples=100), {})["outputs"]["diagnosis"]


def test_all_outputs_have_a_record(cancer: Any, diabetes: Any, digits: Any) -> None:
    for trial in (cancer, diabetes, digits):
        wanted = Evaluation(resamples=100, importance=False, robustness=[Component("noise", {"deviation": 0.5})])
        report = evaluate(trial.model, trial.baselines, trial.test, None, wanted, {})
        for record in report["outputs"].values():
            assert record["robustness"]["damages"][0]["drop"] > 0
