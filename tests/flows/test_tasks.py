"""Every task beyond class and number from raw data to a packaged model that answers as in training: columns, lists, report."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from lode.data.place import Place
from lode.pipeline import loading
from lode.pipeline.predict import predict_file, source_of
from lode.pipeline.run import run

NUM_ROWS = 240


def table() -> pl.DataFrame:
    """Rows in which every output follows from the inputs, with noise."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, NUM_ROWS))
    words = generator.choice(["red", "blue", "Bern", "Oslo", "runs"], (NUM_ROWS, 5))
    tags = np.where(np.isin(words, ["Bern", "Oslo"]), "B-LOC", "O")
    return pl.DataFrame({
        "a": a,
        "b": b,
        "text": [" ".join(row) for row in words],
        "tags": [" ".join(row) for row in tags],
        "labels": [[name for name, yes in (("up", x > 0), ("right", y > 0)) if yes] for x, y in zip(a, b, strict=True)],
        "amount": 3 * a + generator.normal(size=NUM_ROWS) * (1 + (b > 0)),
        "query": np.arange(NUM_ROWS) // 6,
        "relevance": np.clip(np.round(a + 1), 0, 3),
        "who": [f"p{int(x > 0)}{int(y > 0)}" for x, y in zip(a, b, strict=True)],
    })  # fmt: skip


CASES: dict[str, dict[str, Any]] = {
    "several": {
        "inputs": {"a": "number", "b": "number"},
        "outputs": {"labels": "multilabel", "amount": {"type": "quantiles", "levels": [0.1, 0.5, 0.9]}},
        "model": "network", "train": {"epochs": 3},
    },
    "tags": {"inputs": {"text": {"type": "text", "tokens": "space"}}, "outputs": {"tags": "tagging"}, "model": "lookup"},
    "odd": {"inputs": ["a", "b", "amount"], "outputs": {"odd": {"type": "anomaly", "share": 0.05}}, "model": "principal"},
    "who": {"inputs": ["a", "b"], "outputs": {"who": {"type": "embedding", "width": 3}}, "model": "network", "train": {"epochs": 2}},
    "rank": {
        "inputs": ["a", "b"], "outputs": {"relevance": {"type": "ranking", "group": "query"}},
        "split": {"by": "group", "column": "query"}, "model": "linear",
    },
}  # fmt: skip
EXPECTED: dict[str, dict[str, Any]] = {
    "several": {"labels": pl.List(pl.String), "labels.probability.up": pl.Float64, "amount.quantile.0.9": pl.Float64},
    "tags": {"tags": pl.List(pl.String)},
    "odd": {"odd": pl.Boolean, "odd.score": pl.Float64},
    "who": {"who": pl.List(pl.Float64)},
    "rank": {"relevance": pl.Float64},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("several", "tags") else [pytest.mark.prove]) for name in CASES]
)
def test_a_task_goes_from_raw_data_to_answers(name: str, tmp_path: Path) -> None:
    frame, case = table(), CASES[name]
    frame.write_parquet(tmp_path / "rows.parquet")
    data = {"source": {"type": "parquet", "path": "rows.parquet"}, "split": case.get("split", {})}
    spec: dict[str, Any] = {
        "name": name,
        "data": data,
        **{key: case[key] for key in ("inputs", "outputs", "model", "train") if key in case},
    }
    spec["evaluate"] = {"resamples": 100}
    (tmp_path / "lode.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    done = run(tmp_path / "lode.yaml", runs=tmp_path / "runs")
    assert done.manifests["package"].result["parity"]["bitwise"]
    model = loading.load(name, tmp_path / "runs")
    assert set(model.shifts) == ({"amount"} if name == "several" else set()), "quantiles are held to their levels"
    answers = model.predict(frame.select([column.name for column in model.columns]).head(7))
    assert {column: answers.schema[column] for column in EXPECTED[name]} == EXPECTED[name]
    assert list(answers.columns) == [column.name for column in model.answers]
    counts = predict_file(model, source_of(str(tmp_path / "rows.parquet"), {}), tmp_path / "out.csv", Place(tmp_path))
    assert counts["predicted"] == NUM_ROWS and pl.read_csv(tmp_path / "out.csv").height == NUM_ROWS
    report = json.loads((done.folders["evaluate"] / "report.json").read_text())
    for output, task in case["outputs"].items():
        record = report["outputs"][output]
        assert record["kind"] in ("labels", "quantiles", "tags", "anomaly", "vector", "relevance")
        assert all(entry["low"] is not None for entry in record["metrics"].values()) or name == "odd"
        assert record["learnt"] or task == "multilabel" or name in ("several", "who")


@pytest.mark.prove
def test_a_picture_a_text_and_a_number_give_two_outputs_of_two_kinds(tmp_path: Path) -> None:
    """Several kinds of inputs and outputs need no code of their own: they are lines of one file."""
    frame = table()
    shades = (128 + 40 * frame["a"].clip(-3, 3)).to_numpy().astype(np.uint8)
    frame = frame.with_columns(scan=pl.Series([_picture(int(shade)) for shade in shades]))
    frame.write_parquet(tmp_path / "rows.parquet")
    spec = {
        "name": "mixed",
        "data": {"source": {"type": "parquet", "path": "rows.parquet"}},
        "inputs": {"scan": {"type": "image", "encoder": "cnn"}, "text": "text", "b": "number"},
        "outputs": {"amount": "number", "labels": "multilabel"},
        "model": "network",
        "train": {"epochs": 4},
        "evaluate": {"resamples": 100},
    }
    (tmp_path / "lode.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    done = run(tmp_path / "lode.yaml", runs=tmp_path / "runs")
    assert done.manifests["package"].result["parity"]["bitwise"]
    answers = loading.load("mixed", tmp_path / "runs").predict(frame.select("scan", "text", "b").head(5))
    assert answers.schema["amount"] == pl.Float64 and answers.schema["labels"] == pl.List(pl.String)


def _picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (12, 12), shade).save(buffer, "PNG")
    return buffer.getvalue()
