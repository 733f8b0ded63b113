"""Two processes fit one model: as one does, also where one of them is killed, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lode.core.errors import ModelError
from lode.model.contracts import Context, Examples
from lode.model.training import Training
from tests.flows import devices

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
# A gentle rate: rounding errors of the two ways to add up must not grow from step to step
ONE = Training(epochs=30, batch=32, optimizer="sgd", learning_rate=0.001, schedule="constant", checkpoint_seconds=0.0)
TWO = replace(ONE, devices=2)
FEW = replace(ONE, epochs=3)


class _StoppedError(Exception):
    pass


def _difference(one: object, two: object) -> float:
    first, second = (family.predict(devices.rows(61, 1)) for family in (one, two))  # type: ignore[attr-defined]
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@linux
def test_a_killed_worker_starts_again_and_both_end_as_one_process_does(tmp_path: Path) -> None:
    seen: set[int] = set()
    said: list[tuple[int, int]] = []

    def kill_once(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        said.append((done, total))
        process = devices.workers(os.getpid()).get(1)
        if process is not None and not seen:
            os.kill(process, signal.SIGKILL)
        seen.update({process} - {None})  # type: ignore[arg-type]

    one, alone = devices.fit(ONE, width=512)
    two, together = devices.fit(TWO, Context(folder=tmp_path, progress=kill_once), width=512)
    assert len(seen) == 2, "the second worker was killed while it trained, and started again"
    assert said[-1] == (180, 180)
    losses = [[entry[key] for entry in fitted.history] for fitted in (alone, together) for key in ("train_loss", "stop_loss")]
    assert np.abs(np.array(losses[:2]) - np.array(losses[2:])).max() < 1e-6
    assert _difference(one, two) < 1e-5
    assert together.choices["devices"] == 2
    assert not (tmp_path / "workers").exists()
    # The checkpoint of two loads in one: all epochs are done, so that only the best state is put back
    again, resumed = devices.fit(ONE, Context(folder=tmp_path), width=512)
    assert resumed.history == together.history
    assert _difference(again, two) < 1e-6


@pytest.mark.prove
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("options", [{"norm": "batch"}, {"members": 4}], ids=["batch norm", "members"])
def test_two_processes_agree_with_one(strategy: str, options: dict[str, object]) -> None:
    one, alone = devices.fit(replace(FEW, accumulate=2), **options)
    two, together = devices.fit(replace(FEW, accumulate=2, devices=2, strategy=strategy), **options)
    if "norm" not in options:  # pieces of a batch have each their own statistics, and two processes cut others
        assert [entry["train_loss"] for entry in alone.history] == pytest.approx(
            [e["train_loss"] for e in together.history], abs=1e-6
        )
    one, alone = devices.fit(FEW, **options)
    two, together = devices.fit(replace(FEW, devices=2, strategy=strategy), **options)
    for key in ("train_loss", "stop_loss"):
        assert [entry[key] for entry in alone.history] == pytest.approx([entry[key] for entry in together.history], abs=1e-6)
    assert _difference(one, two) < 1e-5


@pytest.mark.prove
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion", "rmsprop", "adagrad", "sgd", "muon"])
def test_every_rule_moves_divided_weights_as_whole_ones(optimizer: str) -> None:
    training = replace(FEW, optimizer=optimizer, learning_rate=1e-3, l1=1e-4, l2=1e-4, clip=0.5, clip_value=0.1)
    one, _ = devices.fit(training)
    two, _ = devices.fit(replace(training, devices=2, strategy="fsdp"))
    assert _difference(one, two) < (1e-2 if optimizer == "lion" else 1e-4)  # the sign of a rounding error is a whole step


@pytest.mark.prove
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_parent_ends_a_fit_of_two_processes_after_an_epoch(strategy: str) -> None:
    heard: list[float] = []

    def watch(epoch: int, loss: float) -> bool:
        heard.append(loss)
        return epoch == 2

    _, fitted = devices.fit(replace(TWO, strategy=strategy), Context(watch=watch))
    assert [entry["stop_loss"] for entry in fitted.history] == heard and len(heard) == 2


@pytest.mark.prove
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_checkpoint_of_two_processes_goes_on_in_one_and_the_other_way(
    tmp_path: Path, first: int, second: int, strategy: str
) -> None:
    def stop_there(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done >= 60:
            raise _StoppedError

    begun, ended = (replace(ONE, devices=number, strategy=strategy) for number in (first, second))
    with pytest.raises(_StoppedError):
        devices.fit(begun, Context(folder=tmp_path, progress=stop_there), width=512)
    divided = first == 2 and strategy == "fsdp"
    assert (tmp_path / ("checkpoint.json" if divided else "checkpoint.safetensors")).exists()
    resumed, fitted = devices.fit(ended, Context(folder=tmp_path), width=512)
    whole, alone = devices.fit(ONE, width=512)
    assert len(fitted.history) == len(alone.history) == 30
    assert _difference(resumed, whole) < 1e-5


@pytest.mark.prove
def test_a_loss_that_is_not_finite_is_told_as_by_one_process(tmp_path: Path) -> None:
    family, how = devices.made()
    train = devices.rows(203)
    broken = {**train.arrays, "x": train.arrays["x"].copy()}
    broken["x"][50, 0] = np.inf
    train = Examples(train.num_rows, broken, None, train.targets)
    with pytest.raises(
        ModelError, match=r"loss is not finite in epoch 1, batch \d of 6; input \"x\" holds values that are not finite"
    ):
        devices.launch.fit(family, how, train, None, Context(folder=tmp_path, training=replace(FEW, devices=2)))
    assert not (tmp_path / "workers").exists()


_PROGRAM = """
import sys
from pathlib import Path
from dataclasses import replace
from lode.model.contracts import Context
from tests.flows import devices, test_devices
devices.fit(replace(test_devices.TWO, epochs=3000), Context(folder=Path(sys.argv[1]), progress=lambda *said: print("going", flush=True)))
"""


@linux
@pytest.mark.prove
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path: Path, sent: signal.Signals) -> None:
    root = Path(__file__).parents[2]
    program = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        assert parent.stdout.readline() == "going\n"
        processes = list(devices.workers(parent.pid).values())
        assert len(processes) == 2
        parent.send_signal(sent)
        parent.wait(60)
        if sent is signal.SIGINT:
            assert "KeyboardInterrupt" in parent.stderr.read()
    for _ in range(100):
        if not any(map(devices.is_alive, processes)):
            break
        time.sleep(0.1)
    assert not any(map(devices.is_alive, processes))
    shutil.rmtree(tmp_path / "workers", ignore_errors=True)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            replace(ONE, devices=64),
            "train.devices: found 64 processes for batches of 32 rows, allowed is one row each. Write fewer.",
        ),
        (replace(TWO, strategy="fsdp", ema=0.9), "train.ema: found 0.9 beside strategy: fsdp"),
    ],
)
def test_what_does_not_go_with_several_processes_is_told_before_they_start(training: Training, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        devices.fit(training)
