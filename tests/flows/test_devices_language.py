"""Two processes train a language model as one does: whole copies, divided weights, divided products; killed, resumed, and read by one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lode.core.errors import ModelError
from lode.model.contracts import Context
from lode.model.training import Training
from tests.flows import devices, together, writers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found, started once for all tests here."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.flows.together", str(rank), str(port), str(folder)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tensor"])
def test_two_processes_lose_as_much_as_one(found: list[dict[str, Any]], strategy: str) -> None:
    for own in found:
        assert own[strategy]["losses"] < 1e-5
        assert own[strategy]["weights"] < 1e-4


@pytest.mark.parametrize("strategy", ["fsdp", "tensor"])
def test_a_fit_of_two_goes_on_bit_for_bit_and_one_process_reads_its_parts(found: list[dict[str, Any]], strategy: str) -> None:
    for own in (of[f"{strategy} resumed"] for of in found):
        assert own["losses"] == own["weights"] == 0.0
        assert own["before"] == ["checkpoint-000000004-1", "checkpoint.json"], "the older one is gone once the newer one is whole"
        assert own["kept"] == ["part-00000-of-00002.safetensors", "part-00001-of-00002.safetensors"], "no process writes the whole"
    assert found[0][f"{strategy} resumed"]["alone"] == 0.0


def test_heads_that_do_not_divide_are_named(found: list[dict[str, Any]]) -> None:
    said = "train.devices: found 2 processes with strategy: tensor for architecture.groups: 1, allowed is a divisor of it"
    assert all(said in own["indivisible"] for own in found)


@pytest.mark.prove
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tensor"])
@pytest.mark.parametrize("architecture", ["gpt2", "gemma3", "mixtral"])
def test_every_kind_of_decoder_is_divided_alike(strategy: str, architecture: str) -> None:
    training = replace(together.TRAINING, accumulate=2)
    one, alone = writers.fit(training, architecture=architecture)
    two, fitted = writers.fit(replace(training, devices=2, strategy=strategy), architecture=architecture)
    assert together._apart(alone, fitted) < 1e-5 and writers.difference(one, two) < 1e-4


@pytest.mark.prove
@pytest.mark.parametrize("strategy", ["fsdp", "tensor"])
def test_muon_and_bfloat16_go_with_divided_weights(strategy: str) -> None:
    for training in (replace(together.TRAINING, optimizer="muon"), replace(together.TRAINING, precision="bf16")):
        _, alone = writers.fit(training)
        _, fitted = writers.fit(replace(training, devices=2, strategy=strategy))
        assert together._apart(alone, fitted) < (2e-5 if training.precision == "fp32" else 2e-2)


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tensor"])
def test_a_killed_process_starts_again_and_the_end_is_the_same_bit_for_bit(tmp_path: Path, strategy: str) -> None:
    training = replace(together.TRAINING, steps=240, judge_steps=40, devices=2, strategy=strategy, checkpoint_seconds=0.0)
    seen: set[int] = set()

    def kill_once(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        process = devices.workers(os.getpid()).get(1)
        if process is not None and not seen and list(tmp_path.glob("checkpoint*")):
            os.kill(process, signal.SIGKILL)
        seen.update({process} - {None})  # type: ignore[arg-type]

    whole, alone = writers.fit(training)
    again, fitted = writers.fit(training, Context(folder=tmp_path, progress=kill_once))
    assert len(seen) == 2, "the second worker was killed while it trained, and started again"
    assert writers.difference(whole, again) == 0.0
    assert [entry["train_loss"] for entry in alone.history] == [entry["train_loss"] for entry in fitted.history]


@pytest.mark.parametrize(
    ("training", "told"),
    [
        (Training(devices=2, strategy="tensor"), "train.strategy: found tensor with a model that is no language model"),
        (Training(devices=2, strategy="fsdp", ema=0.9), "train.ema: found 0.9 beside strategy: fsdp, which divides the weights"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_starts(training: Training, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        devices.fit(training)
