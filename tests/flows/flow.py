"""What the flow tests share: a file made on the spot, and the command line run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.cli.main import main

BREAST_CANCER = {
    "name": "breast-cancer",
    "data": {"source": {"type": "sklearn", "name": "breast_cancer"}, "clean": ["duplicates"], "split": {"seed": 7}},
    "outputs": {"diagnosis": {"type": "binary", "positive": "malignant"}},
    "model": "auto",
    "value": {"currency": "EUR", "true_positive": 2000, "false_positive": -300, "false_negative": -20000, "true_negative": 0},
}
"""A table that scikit-learn ships, in ten lines."""


def write_spec(folder: Path, spec: dict[str, Any]) -> Path:
    """`lode.yaml` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lode.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), "utf-8")
    return path


def small(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The file with a network that is over in a second, and other changes."""
    return {**spec, "train": {"epochs": 3, **spec.get("train", {})}, **changes}


def lode(*words: str | Path, cwd: Path | None = None, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "lode", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


Verb = Callable[..., subprocess.CompletedProcess[str]]
"""What the fixture `here` is."""


def lode_here(capture: pytest.CaptureFixture[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """As `lode` (exit code, what both streams got), in this process: most of a short command is the start of its process."""
    capture.readouterr()
    code = main([str(word) for word in words])
    found = capture.readouterr()
    return subprocess.CompletedProcess(words, code, found.out, found.err)


def lode_json(*words: str | Path, cwd: Path | None = None) -> dict[str, Any]:
    """Run with --json and read the one object on stdout; the command must succeed."""
    done = lode(*words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
