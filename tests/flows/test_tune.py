"""`lode tune` from the outside: trials of other options, interrupted and gone on with, by several processes, within a budget."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.cli.main import main

optuna = pytest.importorskip("optuna", reason='needs lodeml[tune]: pip install "lodeml[tune]"')

FILE = """
name: cancer
data: {source: {type: sklearn, name: breast_cancer}}
outputs: {diagnosis: {type: binary, positive: malignant}}
model: MODEL
tune: TUNE
"""


def write(folder: Path, tune: str, model: str = "linear") -> Path:
    path = folder / "lode.yaml"
    path.write_text(FILE.replace("TUNE", tune).replace("MODEL", model))
    return path


def tuned(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["tune", str(path), *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def trials_of(folder: str) -> list[Any]:
    return optuna.load_study(study_name="cancer", storage=f"sqlite:///{folder}/study.db").trials


def test_the_best_file_is_written_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{trials: 3, method: random, search: {model.leaves: [2, 4], model.rounds: {low: 5, high: 40}}}", "trees")
    found = tuned(path, capsys)
    assert len(found["trials"]) == found["judged"] == 3
    assert found["best"]["score"] == max(entry["score"] for entry in found["trials"])
    assert found["best"]["low"] < found["best"]["score"] < found["best"]["high"]
    best = yaml.safe_load((tmp_path / "lode.best.yaml").read_text())
    assert "tune" not in best
    assert {f"model.{name}": value for name, value in best["model"].items() if name != "type"} == found["best"]["values"]
    page = Path(found["report"]).read_text()
    assert "The best of 3 trials" in page
    assert page.count("<img") >= 3
    assert main(["train", str(tmp_path / "lode.best.yaml"), "--json"]) == 0


def test_a_second_call_goes_on_and_more_trials_add_to_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{trials: 2, search: {model.penalty: {low: 0.01, high: 10, log: true}}}")
    first = tuned(path, capsys)
    again = tuned(path, capsys)
    assert again["trials"] == first["trials"], "done already"
    more = tuned(path, capsys, "--trials", "3")
    assert more["trials"][:2] == first["trials"]
    assert more["judged"] == 3


def test_a_grid_tries_every_combination_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{method: grid, search: {model.penalty: [0.1, 1], model.iterations: [50, 100]}}")
    found = tuned(path, capsys)
    assert sorted(str(entry["values"]) for entry in found["trials"]) == sorted(
        str({"model.iterations": count, "model.penalty": penalty}) for count in (50, 100) for penalty in (0.1, 1)
    )


def test_a_budget_in_money_is_held_and_told_where_it_has_no_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{trials: 500, budget: 1 EUR, search: {model.penalty: {low: 0.01, high: 10, log: true}}}")
    assert main(["tune", str(path), "--json"]) == 2
    assert "no price of an hour in EUR" in json.loads(capsys.readouterr().out)["error"]["message"]
    path.write_text(path.read_text() + "value: {currency: EUR, compute_hour: 1800, true_positive: 1, false_negative: -5}\n")
    found = tuned(path, capsys)
    assert 1 <= found["judged"] < 500, "1 EUR buys two seconds"
    assert found["metric"] == "value per 1,000"


def test_poor_trials_are_given_up_and_impossible_ones_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{method: asha, trials: 8, search: {model.rounds: [1, 2, 60], model.leaves: [2, 3, 8]}}", "trees")
    found = tuned(path, capsys)
    assert found["given_up"] >= 1
    assert found["judged"] + found["given_up"] == 8
    text = (
        path.read_text()
        .replace("asha", "grid")
        .replace("model.rounds: [1, 2, 60], model.leaves: [2, 3, 8]", "train.learning_rate: [0.01, 1.0e+30]")
    )
    path.write_text(
        text.replace("model: trees", "model: {type: network, depth: 0}\ntrain: {epochs: 1, optimizer: sgd, clip: null}")
    )
    found = tuned(path, capsys)
    assert found["judged"] == 1
    assert found["refused"] == 1


def test_killed_in_a_trial_it_goes_on_with_the_same_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{trials: 2, method: random, search: {model.rounds: {low: 150, high: 250}}}", "trees")
    text = path.read_text().replace("breast_cancer", "digits")
    path.write_text(text.replace("diagnosis: {type: binary, positive: malignant}", "digit: multiclass"))
    command = [sys.executable, "-m", "lode", "tune", str(path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("runs/tune/*/trials/*/trial-0/fit.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    (folder,) = (tmp_path / "runs" / "tune").iterdir()
    killed = trials_of(str(folder))[0]
    assert killed.state == optuna.trial.TrialState.RUNNING
    path.write_text(path.read_text().replace("trials: 2", "trials: 1"))
    found = tuned(path, capsys)
    assert found["judged"] == 1
    assert found["best"]["values"] == {"model.rounds": killed.params["model.rounds"]}


@pytest.mark.prove
def test_several_processes_share_one_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "{trials: 12, processes: 2, search: {model.rounds: {low: 20, high: 300}}}", "trees")
    found = tuned(path, capsys)
    workers = {tuple(trial.user_attrs["process"]) for trial in trials_of(found["study"])}
    assert found["judged"] == 12
    assert len(workers) == 2
