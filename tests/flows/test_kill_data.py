"""Kill -9 at named moments of a data stage with every kind of cleaner, in bounded memory: the same snapshot, and no readable half."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.flows.flow import lode_json, write_spec

SPEC: dict[str, Any] = {
    "name": "dirty",
    "data": {
        "source": {"type": "csv", "path": "rows.csv"},
        "memory": "2MB",
        "clean": ["types", "duplicates", {"type": "missing", "numbers": "median"}, {"type": "outliers", "action": "clip"}],
        "split": {"by": "group", "column": "who", "folds": 3},
    },
    "outputs": {"bought": {"type": "binary", "positive": "yes"}},
}
SIGNS = {
    "raw rows are being spooled": "data/*/.columns/*-raw.arrow",
    "typed columns are being written": "data/*/.columns/*-column.arrow",
    "a part is being written": "data/*/.*.parquet.tmp",
    "the first part is whole": "data/*/train.parquet",
    "the change log is being written": "data/*/changes.parquet",
    "the report is written": "data/*/report.json",
    "the profile is written": "data/*/profile.json",
}


def rows(folder: Path) -> None:
    rng = np.random.default_rng(0)
    count = 250_000
    amount = pl.Series([f"${value:,}" for value in rng.integers(0, 5_000_000, count)])
    frame = pl.DataFrame(
        {
            "age": np.where(rng.random(count) < 0.02, 4000.0, rng.normal(40, 9, count).round(1)),
            "amount": amount,
            "town": rng.choice(["a", "b", "c", ""], count),
            "who": rng.integers(0, 900, count),
            "bought": rng.choice(["yes", "no"], count),
        }
    )
    pl.concat([frame, frame.head(500)]).write_csv(folder / "rows.csv")


def _kill_at_sign(path: Path, pattern: str) -> bool:
    """Start the data stage and kill it as soon as a file like this is there; whether it was still running."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "lode", "data", str(path), "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if next((path.parent / "runs").glob(pattern), None) is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.001)
    assert process.returncode == 0, f"the run after a killed one failed: {pattern}"
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("undisturbed")
    rows(folder)
    found: str = lode_json("data", write_spec(folder, SPEC))["stages"]["data"]["result"]["content_hash"]
    return found


def test_killed_at_every_step_in_turn_the_snapshot_is_the_same(undisturbed: str, tmp_path: Path) -> None:
    """One folder, killed again and again: what one try leaves behind is what the next one finds."""
    rows(tmp_path)
    path = write_spec(tmp_path, SPEC)
    hit = []
    for moment, pattern in SIGNS.items():
        if _kill_at_sign(path, pattern):
            hit.append(moment)
            assert not list((tmp_path / "runs").glob("data/*/manifest.json")) or moment == "the profile is written", moment
        else:  # too quick for us: it finished
            assert lode_json("data", path)["stages"]["data"]["result"]["content_hash"] == undisturbed
            shutil.rmtree(tmp_path / "runs" / "data")
    assert len(hit) >= 5, f"killed only while {hit}"
    done = lode_json("data", path)["stages"]["data"]
    assert done["result"]["content_hash"] == undisturbed
    left = [item.name for item in Path(done["folder"]).rglob("*") if item.name.startswith(".") or item.suffix in (".tmp", ".arrow")]
    assert left == []
