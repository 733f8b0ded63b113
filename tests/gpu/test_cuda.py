"""What needs a GPU: the same file trained there gives as good a model, and its artifact answers alike without one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from lode.pipeline import loading
from lode.pipeline.run import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]

SPEC = """
name: tumours
data: {source: {type: sklearn, name: breast_cancer}}
outputs: {diagnosis: {type: binary, positive: malignant}}
model: network
train: {device: cuda, epochs: 20}
"""


def test_a_network_trained_on_a_gpu_is_packaged_and_answers_on_the_processor(tmp_path: Path) -> None:
    (tmp_path / "lode.yaml").write_text(SPEC, encoding="utf-8")
    done = run(tmp_path / "lode.yaml")
    test = pl.read_parquet(done.folders["data"] / "test.parquet")
    answers = loading.load("tumours", done.runs).predict(test)
    right = (answers["diagnosis"] == test["diagnosis"]).mean()
    assert isinstance(right, float)
    assert right > 0.9


def test_two_runs_on_one_gpu_give_one_artifact_hash(tmp_path: Path) -> None:
    hashes = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lode.yaml").write_text(SPEC, encoding="utf-8")
        hashes.add(run(tmp_path / name / "lode.yaml").model.hash)
    assert len(hashes) == 1
