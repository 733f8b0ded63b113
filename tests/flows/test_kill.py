"""Kill -9 at any moment, then the same command: the same artifact hash as an undisturbed run (promise 4)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lode.pipeline.run import Run, run
from tests.flows.flow import BREAST_CANCER, lode_json, write_spec

SPEC = {**BREAST_CANCER, "train": {"epochs": 12, "checkpoint_seconds": 0}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """The run that nobody kills, and how long its process takes (only to aim the kills)."""
    path = write_spec(tmp_path_factory.mktemp("undisturbed"), SPEC)
    begin_s = time.monotonic()
    lode_json("run", path)
    return run(path), time.monotonic() - begin_s


def _kill_after(path: Path, delay_s: float) -> bool:
    """Start a run and kill it; whether it was still running."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "lode", "run", str(path), "--json"], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def _same_after_kills(undisturbed: tuple[Run, float], folder: Path, moments: list[float]) -> None:
    expected, seconds = undisturbed
    path = write_spec(folder, SPEC)
    killed = [_kill_after(path, share * seconds) for share in moments]
    assert any(killed), "no kill hit a running process"
    result = lode_json("run", path)
    assert result["stages"]["package"]["result"]["hash"] == expected.manifests["package"].result["hash"]


def test_three_kills_in_a_row_then_the_same_hash(undisturbed: tuple[Run, float], tmp_path: Path) -> None:
    generator = random.Random(2)
    _same_after_kills(undisturbed, tmp_path, [generator.uniform(0.2, 0.9) for _ in range(3)])


@pytest.mark.prove
@pytest.mark.parametrize("number", range(10))
def test_a_kill_at_a_random_moment_then_the_same_hash(undisturbed: tuple[Run, float], tmp_path: Path, number: int) -> None:
    _same_after_kills(undisturbed, tmp_path, [random.Random(number).uniform(0.05, 0.98)])
