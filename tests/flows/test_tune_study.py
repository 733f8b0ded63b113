"""The book-keeping of a study: what counts as a trial, what is taken up again, what a budget is charged for. Almost no trial is fitted."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lode.cli.main import main
from lode.core.search import Dimension
from lode.model.contracts import no_progress
from lode.pipeline import gc, judging, workers

optuna = pytest.importorskip("optuna", reason='needs lodeml[tune]: pip install "lodeml[tune]"')
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

from lode.pipeline.study import Study  # noqa: E402

FILE = """
name: cancer
data: {source: {type: sklearn, name: breast_cancer}}
outputs: {diagnosis: {type: binary, positive: malignant}}
model: linear
tune: TUNE
"""
GRID = "{method: grid, search: {model.penalty: [0.1, 1, 10], model.iterations: [50, 100]}}"
RANDOM = "{method: random, trials: 2, budget: 60s, search: {model.penalty: {low: 0.01, high: 10, log: true}}}"


def opened(folder: Path, tune: str) -> Study:
    (folder / "lode.yaml").write_text(FILE.replace("TUNE", tune))
    return Study.open(folder / "lode.yaml", None, folder / "runs", {}, no_progress, lambda line: None)


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.kept.trials]


def dead_process() -> list[Any]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return [platform.node(), process.pid]


def test_a_grid_that_was_half_written_is_written_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    whole, count = optuna.Study.enqueue_trial, []

    def killed(*words: Any, **named: Any) -> None:
        count.append(1)
        if len(count) > 2:
            raise KilledError
        whole(*words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", killed)
        with pytest.raises(KilledError):
            opened(tmp_path, GRID)
    study = opened(tmp_path, GRID)
    assert states(study) == [TrialState.WAITING] * 6
    waiting = [str(sorted(trial.system_attrs["fixed_params"].items())) for trial in study.kept.trials]
    assert len(set(waiting)) == 6
    assert states(opened(tmp_path, GRID)) == [TrialState.WAITING] * 6, "written once"


def test_lists_are_tried_as_lists_by_a_grid_too(tmp_path: Path) -> None:
    study = opened(tmp_path, RANDOM)
    study.dimensions = [Dimension("model.penalty", ("model", "penalty"), choices=([1, 2], [3, 4]))]
    for entry in study._grid():
        study.kept.enqueue_trial(entry)
    assert [study._values(study.kept.ask())[0][1] for _ in range(2)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("method", "trials", "random"), [("tpe", 9, 3), ("gp", 9, 3), ("tpe", 300, 10), ("asha", 3, 3)])
def test_a_small_study_learns_from_its_first_trials_too(tmp_path: Path, method: str, trials: int, random: int) -> None:
    pytest.importorskip("torch")
    study = opened(tmp_path, f"{{method: {method}, trials: {trials}, search: {{model.penalty: {{low: 0.01, high: 10}}}}}}")
    assert study._sampler()._n_startup_trials == random, "the rest follows the method"  # type: ignore[attr-defined]


def test_one_trial_too_many_is_given_back(tmp_path: Path) -> None:
    study = opened(tmp_path, RANDOM)
    asked = [study.kept.ask() for _ in range(3)]  # as three processes would that all see one left
    assert [study._is_surplus(trial) for trial in asked] == [False, False, True]
    assert study._left() == 0
    assert states(study)[2] == TrialState.FAIL


def test_a_trial_of_a_dead_process_begins_again_and_costs_no_budget(tmp_path: Path) -> None:
    study = opened(tmp_path, RANDOM)
    long_ago = datetime.now() - timedelta(days=1)
    attributes = {"process": dead_process()}
    study.kept.add_trial(
        FrozenTrial(
            number=0, state=TrialState.RUNNING, value=None, datetime_start=long_ago, datetime_complete=None, params={}, distributions={},
            user_attrs=attributes, system_attrs={}, intermediate_values={}, trial_id=0,
        )
    )  # fmt: skip
    mine = study.kept.ask()
    mine.set_user_attr("process", workers.myself())  # a number that was another process's before: no process runs two
    again = opened(tmp_path, RANDOM)
    assert states(again) == [TrialState.FAIL, TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    assert [trial.user_attrs["once_more"] for trial in again.kept.trials[2:]] == [0, 1]
    assert again._left() == 2
    first = again.kept.ask()
    assert not again._is_surplus(first) and again._scratch(first).name == "0", "it finds its finished folds"
    assert not again._is_spent(time.monotonic()), "a day of nobody's work"


def test_a_figure_that_is_not_a_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = opened(tmp_path, RANDOM)

    def judged(self: Study, trial: Any, own: Path) -> float:
        trial.set_user_attr("metric", "auc")
        return float("nan")

    monkeypatch.setattr(Study, "_judge", judged)
    study.work_on()
    (first, second) = study.kept.trials
    assert "auc is not a number" in first.user_attrs["refused"] and second.state == TrialState.FAIL


def test_gc_leaves_a_study_alone_that_somebody_works_on(tmp_path: Path) -> None:
    study = tmp_path / "tune" / "cancer-1"
    own, old = workers.own_folder(study), study / "trials" / "3"
    old.mkdir(parents=True)
    (old / "x").write_bytes(b"1")
    for folder in (own, old):
        os.utime(folder, (0, 0))
    assert not gc.garbage(tmp_path)
    workers.leave(study)
    assert [entry["folder"] for entry in gc.garbage(tmp_path)] == [str(old)]


def test_the_tuned_file_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(FILE.replace("TUNE", RANDOM))
    assert main(["tune", str(path), "-o", str(path)]) == 2
    assert "allowed: another one" in capsys.readouterr().err
    assert path.read_text() == FILE.replace("TUNE", RANDOM)


@pytest.mark.parametrize(("method", "looks"), [("random", 1), ("asha", 5)])
def test_only_a_method_that_gives_up_looks_at_a_trial_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, looks: int
) -> None:
    looked: list[int] = []
    whole = judging.Judged

    def counted(scores: Any, *words: Any) -> Any:
        looked.append(len(next(iter(scores.values()))))
        return whole(scores, *words)

    monkeypatch.setattr(judging, "Judged", counted)
    study = opened(tmp_path, f"{{method: {method}, trials: 1, search: {{model.iterations: [9, 10]}}}}")
    study.work_on()
    assert len(looked) == looks
    assert study.kept.trials[0].state == TrialState.COMPLETE
