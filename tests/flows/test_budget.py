"""What a budget leaves undone: it is told, a model that the file names is fitted all the same, and luck with the clock decides nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from lode.model.pace import ENDED_BY_CLOCK
from lode.pipeline import schedule, trials
from lode.pipeline.portfolio import Slate
from lode.pipeline.run import Run, run


def _file(folder: Path, **changes: Any) -> Path:
    """300 rows of two numbers and a category: the answer is in one number, and the category is noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    count = 300
    score, age = rng.normal(size=count), rng.normal(40, 10, count)
    frame = {"age": age, "score": score, "bought": np.where(score + rng.normal(0, 0.7, count) > 0, "yes", "no")}
    pl.DataFrame(frame).write_csv(folder / "rows.csv")
    spec: dict[str, Any] = {
        "name": "shop", "data": {"source": {"type": "csv", "path": "rows.csv"}}, "inputs": {"age": "number", "score": "number"},
        "outputs": {"bought": {"type": "binary", "positive": "yes"}}, "evaluate": {"resamples": 100, "importance": False}, **changes,
    }  # fmt: skip
    path = folder / "lode.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baselines, or reading, took all the time."""
    monkeypatch.setattr(schedule.Clock, "left_s", lambda self: 0.0)


@pytest.mark.parametrize(
    "model", ["tabm", {"type": "auto", "candidates": ["tabm"]}, {"type": "ensemble", "members": ["tabm", "trees"]}]
)
def test_a_model_that_the_file_names_is_packaged_however_little_time_is_left(tmp_path: Path, model: Any, spent: None) -> None:
    done = run(_file(tmp_path, model=model, train={"budget": "1s"}))
    result = done.manifests["train"].result
    assert result["fitted"]["tabm"] == 1
    assert result["chosen"] in ("tabm", "ensemble")
    assert done.manifests["package"].result["hash"]


def test_what_there_was_no_time_for_is_told(tmp_path: Path, spent: None) -> None:
    done = run(_file(tmp_path, model={"type": "auto", "choose": "best"}, train={"budget": "1s"}))
    notes = done.manifests["train"].result["notes"]
    assert notes[0] == (
        "train.budget: no time was left for trees-random, trees-whole, realmlp, tabm, trees-random-large, trees-shallow, trees-slow."
    )
    assert "linear" in notes[1] and "ended" in notes[1]
    assert set(notes) <= set(done.report["facts"]["notes"])
    assert "no time was left for" in (done.folders["evaluate"] / "report.html").read_text()
    # Of one round only as many rows were judged as it has.
    assert done.manifests["train"].result["judged_rows"] < 60


def test_without_a_budget_nothing_is_told(tmp_path: Path) -> None:
    result = run(_file(tmp_path, model="linear"), until="train").manifests["train"].result
    assert result["notes"] == []
    assert not any(ENDED_BY_CLOCK in fit["choices"] for fit in result["models"]["linear"]["fits"])


def _pinned(folder: Path, **rounds: int) -> Run:
    model = {
        "type": "auto",
        "candidates": ["linear", {"type": "trees", "rounds": 20}, "constant"],
        "choose": "best",
        "rounds": rounds,
    }
    return run(_file(folder, model=model, evaluate={"folds": 3, "resamples": 100, "importance": False}), until="train")


def _reasons(done: Run) -> dict[str, str]:
    return {row["candidate"]: row["reason"] for row in done.manifests["train"].result["table"]}


def test_who_alone_was_in_time_for_one_more_fold_has_not_won_by_it(tmp_path: Path) -> None:
    done = _pinned(tmp_path, linear=1, trees=2)
    result, reasons = done.manifests["train"].result, _reasons(done)
    assert {row["candidate"] for row in result["table"] if row["allowed"]} >= {"linear", "trees"}
    assert not {"named in the file", "baseline", "not among model.candidates"} & set(reasons.values())
    assert result["judged_rows"] < 100, "both on the rows of the first fold"


def test_the_table_says_who_was_judged_on_fewer_folds(tmp_path: Path) -> None:
    done = _pinned(tmp_path, linear=3, trees=1)
    result, reasons = done.manifests["train"].result, _reasons(done)
    if result["ensemble"] is None:  # linear alone is surely as good
        assert reasons["trees"] == "judged on 1 of 3 folds only"
        assert reasons["linear"] == "best" and reasons["constant"] == "judged on 1 of 3 folds only"
    else:
        assert set(result["ensemble"]["bought"]) == {"linear", "trees"}


def test_the_table_tells_what_the_models_of_the_folds_cost_together(tmp_path: Path) -> None:
    model = {"type": "auto", "candidates": ["linear"], "rounds": {"linear": 3}, "refit": False}
    done = run(_file(tmp_path, model=model, evaluate={"folds": 3, "resamples": 100, "importance": False}), until="train")
    result = done.manifests["train"].result
    row = next(row for row in result["table"] if row["chosen"])
    assert row["parameters"] == sum(fit["cost"]["parameters"] for fit in result["models"]["linear"]["fits"]) == 9


def _share_s(num_rounds: int, words: list[str], asked: str) -> float:
    """Of 90 seconds, what the asked candidate gets when it is begun, those before it done."""
    made = {
        word: SimpleNamespace(name=word, loop=word == "network", aside=word == "trees", is_done=lambda _: False) for word in words
    }
    clock: Any = SimpleNamespace(left_s=lambda: 90.0, least_s=1.0)
    everything: Any = made
    lanes = schedule._Lanes(everything, num_rounds, clock, Slate((), tuple(words)))
    lanes._taken |= {(word, 0) for word in words[: words.index(asked) + 1]}
    return lanes._share_s(everything[asked], 0)


def test_the_last_network_gets_all_the_time_where_there_are_no_folds() -> None:
    words = ["constant", "linear", "trees", "network"]
    assert _share_s(1, words, "network") == 90.0, "half of the budget was left unused"
    assert _share_s(5, words, "network") == 45.0, "one more fold has to fit in"
    assert _share_s(1, words, "linear") == 30.0


def test_a_fit_on_all_rows_has_a_deadline_whatever_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float | None] = []
    whole = trials.Trial._fit

    def fit(self: Any, prepared: Any, fit_rows: Any, stop: Any, *words: Any) -> Any:
        ends.extend([words[2] if len(words) > 2 else None] * (stop is None))
        return whole(self, prepared, fit_rows, stop, *words)

    monkeypatch.setattr(trials.Trial, "_fit", fit)
    model = {"type": "auto", "candidates": ["linear"], "ensemble": False}
    assert run(_file(tmp_path, model=model, train={"budget": "60s"}), until="train").manifests["train"].result["refitted"]
    assert ends and None not in ends


def test_a_fit_on_all_rows_that_was_killed_is_not_begun_again_without_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, model={"type": "auto", "candidates": ["trees"], "ensemble": False}, train={"budget": "600s"})

    def killed(self: Any, count: int, end_s: float | None = None) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials.Trial, "refit", killed)
        with pytest.raises(KeyboardInterrupt):
            run(path, until="train")
    monkeypatch.setattr(schedule.Clock, "left_s", lambda self: 0.0)
    result = run(path, until="train").manifests["train"].result
    assert result["chosen"] == "trees" and not result["refitted"], "a tree or two of all rows, judged as the folds' models"
    assert "ensemble" in result["models"]["trees"]
