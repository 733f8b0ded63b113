"""`lode serve` on a packaged model: keys, the same answers as offline, what it refuses to serve."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_breast_cancer

from lode.pipeline.run import Run
from tests.flows.flow import lode

PREDICT = "/v1/models/breast-cancer:predict"


@contextmanager
def serving(*words: str | Path) -> Iterator[tuple[str, list[str], subprocess.Popen[str]]]:
    """`lode serve breast-cancer ...` on a free port: its address, what it said at the start, the process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "lode", "serve", "breast-cancer", "--port", "0", "--json", *map(str, words)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip())
            if line.startswith("Serving at "):
                break
        assert said and said[-1].startswith("Serving at "), said
        yield said[-1].removeprefix("Serving at "), said, process
    finally:
        process.kill()
        process.communicate()


def rows(count: int) -> list[dict[str, Any]]:
    bunch = load_breast_cancer()
    return [dict(zip(map(str, bunch.feature_names), row, strict=True)) for row in bunch.data[:count].tolist()]


def test_the_key_is_shown_once_and_asked_for_and_the_end_is_one_json_object(finished: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    with serving("--runs", runs) as (url, said, process):
        key = next(match[1] for line in said if (match := re.search(r"Key, shown only now: (lode_\w+)$", line)))
        body = {"rows": rows(2)}
        assert httpx.post(url + PREDICT, json=body).status_code == 401
        good = httpx.post(url + PREDICT, json=body, headers={"authorization": f"Bearer {key}"})
        assert good.status_code == 200
        assert not any(key.encode() in path.read_bytes() for path in runs.rglob("*") if path.is_file())
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        record = json.loads(output)
        assert (record["name"], record["requests"], record["url"]) == ("breast-cancer", 2, url)
    with serving("--runs", runs) as (url, said, _):
        assert not any(key in line for line in said)
        assert any("`lode keys create " in line for line in said)
        assert httpx.post(url + PREDICT, json=body, headers={"authorization": f"Bearer {key}"}).json() == good.json()


def test_answers_over_http_are_those_of_the_loaded_model(finished: Run, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("a-key-of-my-own-that-is-long-enough\n")
    asked = rows(569)
    model = finished.model
    with serving("--runs", finished.runs, "--key-file", key_file) as (url, _, _process):
        headers = {"authorization": f"Bearer {key_file.read_text().strip()}"}
        together = httpx.post(url + PREDICT, json={"rows": asked}, headers=headers, timeout=60).json()["predictions"]
        alone = [httpx.post(url + PREDICT, json={"rows": [row]}, headers=headers).json()["predictions"][0] for row in asked[:20]]
    offline = model.predict(pl.DataFrame(asked)).to_dicts()
    # The same rows in one batch: bit for bit. One by one: another batch shape, so within the tolerance.
    assert together == offline
    name = "diagnosis.probability.malignant"
    assert np.allclose([row[name] for row in alone], [row[name] for row in offline[:20]], atol=1e-5, rtol=0)


def test_a_model_that_fails_its_parity_check_is_not_served(finished: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs)
    folder = runs / "artifacts" / "breast-cancer" / "1"
    scores = load_file(folder / "parity.safetensors")
    save_file({name: -values for name, values in scores.items()}, folder / "parity.safetensors")
    done = lode("serve", "breast-cancer", "--runs", runs, "--port", "0", "--open")
    assert done.returncode == 2
    assert "parity" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "nobody"),
        (["breast-cancer", "--version", "77"], "77"),
        (["breast-cancer", "--open", "--key-file", "x"], "--open and --key-file"),
        (["breast-cancer", "--key-file", "no-such-file"], "no-such-file"),
        (["breast-cancer", "--host", "no.such.host.invalid"], "no such address"),
    ],
)
def test_a_wrong_start_is_a_message_and_exit_code_2(finished: Run, words: list[str], said: str) -> None:
    done = lode("serve", *words, "--port", "0", "--runs", finished.runs)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
