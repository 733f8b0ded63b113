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
    assert process.returncode == 0, f"the run after a killed one failed, {delay_s:.2f} s after its start"
    return False


def _same_after_kills(undisturbed: tuple[Run, float], folder: Path, moments: list[float]) -> None:
    expected, seconds = undisturbed
    path = write_spec(folder, SPEC)
    killed = [_kill_after(path, share * seconds) for share in moments]
    assert any(killed), "no kill hit a running process"
    result = lode_json("run", path)
    assert result["stages"]["package"]["result"]["hash"] == expected.manifests["package"].result["hash"]


SIGNS = {
    "the snapshot is being written": "data/*/*.parquet",
    "the snapshot is done": "data/*/manifest.json",
    "the first candidate is judged": "train/*/.scratch/constant-0/fit.json",
    "the network has a checkpoint": "train/*/.scratch/network-0/checkpoint/*.safetensors",
    "the second fold has begun": "train/*/.scratch/linear-1/fit.json",
    "models are being kept": "train/*/models/linear/artifact.json",
    "training is done": "train/*/manifest.json",
    "the report is written": "evaluate/*/report.html",
    "the artifact is being copied": "artifacts/*/.incoming/artifact.json",
}
"""What lies in the runs folder when a run is killed: each stage begun, in the middle, done."""


def _kill_at_sign(path: Path, pattern: str) -> bool:
    """Start a run and kill it as soon as a file like this is there; whether it was still running."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "lode", "run", str(path), "--json"], env=environment, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        if next((path.parent / "runs").glob(pattern), None) is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.returncode == 0, f"the run after a killed one failed: {pattern}"
    return False


def test_killed_at_every_step_in_turn_then_the_same_hash(undisturbed: tuple[Run, float], tmp_path: Path) -> None:
    path = write_spec(tmp_path, SPEC)
    killed = [sign for sign, pattern in SIGNS.items() if _kill_at_sign(path, pattern)]
    # The last steps are over in an instant: a kill may come late, but most must hit.
    assert len(killed) >= len(SIGNS) - 2, killed
    result = lode_json("run", path)
    assert result["stages"]["package"]["result"]["hash"] == undisturbed[0].manifests["package"].result["hash"]


@pytest.mark.prove
@pytest.mark.parametrize("number", range(10))
def test_a_kill_at_a_random_moment_then_the_same_hash(undisturbed: tuple[Run, float], tmp_path: Path, number: int) -> None:
    _same_after_kills(undisturbed, tmp_path, [random.Random(number).uniform(0.05, 0.98)])
