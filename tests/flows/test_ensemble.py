"""Ensembles, folds and budgets: one artifact, judged on rows that no member saw, the same again after a kill."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from lode.core.errors import LodeError
from lode.core.spec import load
from lode.pipeline import judging, loading, train, trials
from lode.pipeline.member import examples
from lode.pipeline.run import Run, run

SPLITS = {
    "random": {"by": "random"},
    "stratified": {"by": "random", "stratify": "colour"},
    "group": {"by": "group", "column": "who"},
    "time": {"by": "time", "column": "day"},
}


def _file(folder: Path, **changes: Any) -> Path:
    """300 rows of two numbers and a colour."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    count = 300
    age, score, colour = rng.normal(40, 10, count), rng.normal(0, 1, count), rng.choice(["red", "green", "blue"], count)
    value = score + 0.05 * (age - 40) + (colour == "red") + rng.normal(0, 0.7, count)
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 10, 26), eager=True)
    frame = {"age": age, "score": score, "colour": colour, "who": np.arange(count) // 10, "day": days,
             "bought": np.where(value > 0.3, "yes", "no"), "price": value}  # fmt: skip
    pl.DataFrame(frame).write_csv(folder / "rows.csv")
    spec: dict[str, Any] = {
        "name": "shop", "data": {"source": {"type": "csv", "path": "rows.csv"}, "split": {"seed": 1}},
        "inputs": {"age": "number", "score": "number", "colour": "category"},
        "outputs": {"bought": {"type": "binary", "positive": "yes"}},
        "evaluate": {"resamples": 100, "importance": False}, **changes,
    }  # fmt: skip
    path = folder / "lode.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


MEMBERS = ["linear", {"type": "trees", "rounds": 20}]


def _ensemble(method: str) -> dict[str, Any]:
    return {"type": "ensemble", "method": method, "members": MEMBERS, "folds": 3}


@pytest.mark.parametrize(
    "method", ["greedy", "stacking", *(pytest.param(word, marks=pytest.mark.prove) for word in ("voting", "bagging"))]
)
def test_an_ensemble_is_one_artifact_that_answers_as_its_members_do(tmp_path: Path, method: str) -> None:
    outputs = {"bought": {"type": "binary", "positive": "yes"}, "price": "number"}
    done = run(_file(tmp_path, model=_ensemble(method), outputs=outputs))
    folder = Path(done.manifests["package"].result["folder"])
    model = loading.load(folder)
    assert json.loads((folder / "artifact.json").read_text())["format"] == 2
    assert model.ensemble is not None and model.ensemble.method == method
    assert len(model.ensemble.members) == len(model.ensemble.names) * (1 if method == "voting" else 3)
    assert model.cost().flops_per_row >= sum(member.family.cost().flops_per_row for member in model.ensemble.members)
    assert model.verify()["bitwise"]
    row = {"age": 55.0, "score": 2.0, "colour": "red"}
    answer = model.predict(pl.DataFrame([row])).to_dicts()[0]
    assert answer["bought.probability.yes"] > 0.8 and answer["price"] > 0.5
    assert done.report["outputs"]["bought"]["metrics"]["auc"]["value"] > 0.75


@pytest.mark.parametrize("method", ["bagging", pytest.param("voting", marks=pytest.mark.prove)])
def test_refitted_members_are_of_all_rows_and_differ_by_their_seeds(tmp_path: Path, method: str) -> None:
    members = ["linear", {"type": "network", "width": 8}]
    chosen = {"type": "ensemble", "method": method, "members": members, "folds": 3, "refit": 2}
    fitted: list[tuple[str, int, int, bool]] = []
    fit = trials.launch.fit

    def watched(family: Any, made: Any, examples: Any, stop: Any, context: Any) -> Any:
        fitted.append((made.family.type, examples.num_rows, context.seed, stop is None))
        return fit(family, made, examples, stop, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials.launch, "fit", watched)
        done = run(_file(tmp_path, model=chosen, train={"epochs": 3}))
    whole = done.manifests["data"].result["rows"]["train"] + done.manifests["data"].result["rows"]["validation"]
    again = [entry for entry in fitted if entry[1] == whole and entry[0] in ("linear", "network")]
    model = loading.load(Path(done.manifests["package"].result["folder"]))
    assert model.ensemble is not None and model.verify()["bitwise"]
    assert [member.candidate for member in model.ensemble.members] == [
        name for name in model.ensemble.names for _ in range(2 if name == "network" else 1)
    ]
    assert {("linear", whole, 0, True), ("network", whole, 0, True), ("network", whole, 1, True)} >= {*again} != set()
    networks = [member.family for member in model.ensemble.members if member.candidate == "network"]
    rows = pl.DataFrame({"age": [55.0, 20.0], "score": [2.0, -1.0], "colour": ["red", "blue"]})
    answers = [family.predict(examples(rows, model.ensemble.preprocessors[0], family.needs))["bought"] for family in networks]
    assert len(answers) == 2 and not np.allclose(answers[0], answers[1])


def _refitted(**options: Any) -> dict[str, Any]:
    members = ["linear", {"type": "network", "width": 4}]
    return {"type": "ensemble", "method": "bagging", "members": members, "folds": 2, "refit": 2, **options}


def test_killed_while_members_are_fitted_again_it_goes_on_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(_file(tmp_path / "a", model=_refitted(), train={"epochs": 2})).manifests["package"].result["hash"]
    path, fit, seeds = _file(tmp_path / "b", model=_refitted(), train={"epochs": 2}), trials.launch.fit, []

    class KilledError(Exception):
        pass

    def killed(family: Any, made: Any, rows: Any, stop: Any, context: Any) -> Any:
        if context.seed == 1:
            raise KilledError
        return fit(family, made, rows, stop, context)

    def watched(family: Any, made: Any, rows: Any, stop: Any, context: Any) -> Any:
        seeds.extend([context.seed] * (made.family.type == "network" and stop is None))
        return fit(family, made, rows, stop, context)

    monkeypatch.setattr(trials.launch, "fit", killed)
    with pytest.raises(KilledError):
        run(path)
    monkeypatch.setattr(trials.launch, "fit", watched)
    assert run(path).manifests["package"].result["hash"] == expected
    assert seeds == [1], "the first one was done"


def test_members_are_fitted_again_within_the_budget_or_those_of_the_folds_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, given = trials.launch.fit, []

    def watched(family: Any, made: Any, rows: Any, stop: Any, context: Any) -> Any:
        given.extend([context.deadline_s] * (stop is None))
        return fit(family, made, rows, stop, context)

    monkeypatch.setattr(trials.launch, "fit", watched)
    done = run(_file(tmp_path / "a", model=_refitted(), train={"budget": "60s", "epochs": 2})).manifests["train"].result
    assert done["refitted"] and len(given) == 3
    assert all(time_s is not None and time_s < 60 / share for time_s, share in zip(given, (3, 2, 1), strict=True))
    monkeypatch.setattr(train, "_MORE_ROWS", float("inf"))
    hurried = run(_file(tmp_path / "b", model=_refitted(), train={"budget": "60s", "epochs": 2})).manifests["train"].result
    assert not hurried["refitted"] and hurried["models"]["ensemble"]["ensemble"]["models"] == {"linear": 2, "network": 2}
    row = next(row for row in hurried["table"] if row["candidate"] == "ensemble")
    assert row["parameters"] == hurried["models"]["ensemble"]["cost"]["parameters"], "what is packaged is what is counted"


def test_the_same_file_gives_the_same_hash_and_another_seed_another(tmp_path: Path) -> None:
    def digest(place: str, **changes: Any) -> str:
        found = run(_file(tmp_path / place, model=_ensemble("greedy"), **changes)).manifests["package"].result["hash"]
        return str(found)

    assert digest("a") == digest("b") != digest("c", train={"seed": 5})


def test_a_killed_ensemble_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    path = _file(tmp_path, model=_ensemble("stacking"))
    first = run(path, until="train")
    folder = first.folders["train"]
    expected = first.manifests["train"].result
    # As a kill leaves it: no manifest, and half of the fits.
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "models")
    again = run(path, until="train").manifests["train"].result
    assert {name: entry["hash"] for name, entry in again["models"].items()} == {
        name: entry["hash"] for name, entry in expected["models"].items()
    }


@pytest.mark.parametrize(
    "kind", ["group", "time", *(pytest.param(word, marks=pytest.mark.prove) for word in ("random", "stratified"))]
)
def test_cross_validated_figures_stand_beside_those_of_the_test(tmp_path: Path, kind: str) -> None:
    path = _file(
        tmp_path, model="linear", data={"source": {"type": "csv", "path": "rows.csv"}, "split": SPLITS[kind]},
        evaluate={"folds": 4, "resamples": 100, "importance": False},
    )  # fmt: skip
    done = run(path)
    found = done.to_json()["stages"]["train"]["result"]["cross_validation"]
    assert found == done.report["facts"]["cross_validation"] and found["folds"] == 4
    figures = found["metrics"]["auc"]["candidates"]
    assert set(figures) == {"constant", "linear", "trees"} and figures["constant"]["value"] < 0.65 < figures["linear"]["value"]
    assert figures["linear"]["low"] < figures["linear"]["value"] < figures["linear"]["high"]
    assert len(figures["linear"]["each_fold"]) == 4
    assert "Cross-validated" in (done.folders["evaluate"] / "report.html").read_text()


def _within(folder: Path, budget: str, **model: Any) -> Run:
    return run(_file(folder, model={"type": "auto", **model}, train={"budget": budget}))


def test_what_fitted_into_a_budget_can_be_pinned_and_gives_the_same_artifact(tmp_path: Path) -> None:
    candidates = ["constant", "linear", {"type": "trees", "rounds": 20}, {"type": "trees", "leaves": 4, "rounds": 30}]
    hurried = _within(tmp_path / "a", "60s", candidates=candidates, choose="best")
    result = hurried.manifests["train"].result
    assert result["fitted"]["linear"] >= 1 and {row["candidate"] for row in result["table"]} >= {"linear", "trees", "trees-2"}
    assert all(row["seconds_per_1000"] > 0 for row in result["table"])
    model = {"type": "auto", "candidates": candidates, "choose": "best", "rounds": result["fitted"]}
    # What a budget alone decides, folds and all, is in `rounds` and `evaluate.folds`.
    folds = max(result["fitted"].values())
    evaluate = {"folds": folds, "resamples": 100, "importance": False}
    pinned = run(_file(tmp_path / "b", model=model, evaluate=evaluate))
    assert pinned.manifests["train"].result["fitted"] == result["fitted"]
    assert pinned.manifests["package"].result["hash"] == hurried.manifests["package"].result["hash"]


def test_without_time_for_one_more_fit_the_models_of_the_folds_are_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = ["linear", {"type": "trees", "rounds": 20}]
    monkeypatch.setattr(train, "_MORE_ROWS", float("inf"))
    hurried = _within(tmp_path / "a", "60s", candidates=candidates, ensemble=False)
    result = hurried.manifests["train"].result
    folds = result["fitted"][result["chosen"]]
    assert result["refitted"] is False and folds > 1
    model = loading.load("shop", tmp_path / "a" / "runs")
    assert model.ensemble is not None and len(model.ensemble.members) == folds
    # Neither the clock nor what it decided is asked again: the file says it.
    pins = {"type": "auto", "candidates": candidates, "ensemble": False, "rounds": result["fitted"], "refit": False}
    pinned = run(_file(tmp_path / "b", model=pins, evaluate={"folds": folds, "resamples": 100, "importance": False}))
    assert pinned.manifests["package"].result["hash"] == hurried.manifests["package"].result["hash"]


@pytest.mark.parametrize(
    ("model", "split", "said"),
    [
        (_ensemble("greedy"), {}, "found evaluate.folds: 5 and model.folds: 3, allowed: one of them."),
        ("linear", {"folds": 4}, "found data.split.folds: 4 and evaluate.folds: 5"),
    ],
)
def test_folds_that_are_asked_for_twice_are_told(tmp_path: Path, model: Any, split: dict[str, Any], said: str) -> None:
    path = _file(tmp_path, model=model, data={"source": {"type": "csv", "path": "rows.csv"}, "split": split}, evaluate={"folds": 5})
    with pytest.raises(LodeError) as error:
        load(path)
    assert said in str(error.value)
    load(_file(tmp_path, model=_ensemble("greedy"), evaluate={"folds": 3}))


def test_members_that_the_file_names_are_not_given_up_within_a_budget(tmp_path: Path) -> None:
    # The second one is surely worse than the first after one fold.
    model = {
        "type": "ensemble",
        "method": "voting",
        "members": ["linear", {"type": "trees", "rounds": 1, "learning_rate": 0.01}],
        "folds": 3,
    }
    result = run(_file(tmp_path, model=model, train={"budget": "60s"}), until="train").manifests["train"].result
    assert (result["fitted"]["linear"], result["fitted"]["trees"]) == (3, 3)
    assert set(result["ensemble"]["bought"]) == {"linear", "trees"}


def test_no_fit_may_go_on_after_the_budget_whatever_came_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a fit is given counts from when its rows are ready, not from when it was its turn."""
    ends: list[float] = []
    whole, prepared = trials.launch.fit, trials.prepare

    def fit(family: Any, made: Any, examples: Any, stop: Any, context: Any) -> Any:
        if context.deadline_s is not None:  # one more fit with known rounds is begun only where it ends in time
            ends.append(time.monotonic() + context.deadline_s - began_s)
        return whole(family, made, examples, stop, context)

    def slowly(*words: Any) -> Any:
        time.sleep(0.3)
        return prepared(*words)

    monkeypatch.setattr(trials.launch, "fit", fit)
    monkeypatch.setattr(trials, "prepare", slowly)
    path = _file(tmp_path, model={"type": "auto", "candidates": ["linear", "trees"]}, train={"budget": "20s"})
    began_s = time.monotonic()
    run(path, until="data")
    read_s = time.monotonic() - began_s
    run(path, until="train")
    assert ends and max(ends) <= 20.0 + 2 * read_s


def test_the_smallest_budget_still_packages_a_baseline(tmp_path: Path) -> None:
    done = _within(tmp_path, "1s", choose="best")
    assert done.manifests["package"].result["hash"]
    assert {"constant", "linear", "trees"} <= set(done.manifests["train"].result["fitted"])


def test_what_fitted_is_read_again_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, model={"type": "auto", "candidates": ["linear", "trees"]}, train={"budget": "30s"})

    class KilledError(Exception):
        pass

    def killed(*_: Any, **__: Any) -> Any:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(judging, "select", killed)  # everything is fitted, nothing is chosen
        with pytest.raises(KilledError):
            run(path, until="train")
    recorded = json.loads(next((tmp_path / "runs").glob("train/*/.scratch/fitted.json")).read_text())
    with monkeypatch.context() as patch:
        patch.setattr(trials.Trial, "judge", killed)  # it must not be fitted again
        result = run(path, until="train").manifests["train"].result
    assert result["fitted"] == recorded and recorded["linear"] >= 1


@pytest.mark.parametrize(
    ("model", "train", "said"),
    [
        ({"type": "ensemble", "members": []}, {}, "model.members"),
        ({"type": "ensemble", "members": ["tree"]}, {}, 'Did you mean "trees"?'),
        ({"type": "ensemble", "members": ["linear"], "method": "boosting"}, {}, "model.method"),
        ({"type": "ensemble", "members": ["linear"], "folds": 1}, {}, "model.folds"),
        ({"type": "auto", "choose": "dearest"}, {}, "model.choose"),
        ("auto", {"budget": "soon"}, "train.budget"),
    ],
)
def test_a_wrong_word_is_told(tmp_path: Path, model: Any, train: dict[str, Any], said: str) -> None:
    with pytest.raises(LodeError, match=said.replace("?", r"\?").replace(".", r"\.")):
        run(_file(tmp_path, model=model, train=train))
