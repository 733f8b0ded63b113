"""Files of other shapes: several outputs, a number with a value, splits by time and by group, awkward column names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.pipeline.run import Run, run
from tests.flows.flow import lode, lode_json, write_spec


def _rows(num_rows: int = 400) -> pl.DataFrame:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(num_rows, 3))
    return pl.DataFrame(
        {
            "a/b": x[:, 0],
            "a.b": x[:, 1],
            "../up": x[:, 2],
            "颜色": np.where(x[:, 0] > 0.5, "红", "蓝"),
            "day": [f"2024-{1 + row // 40:02d}-{1 + row % 28:02d}" for row in range(num_rows)],
            "customer": [f"c{row % 40}" for row in range(num_rows)],
            "late": (x[:, 0] + generator.normal(size=num_rows) > 0).astype(int),
            "grade": np.array(["low", "middle", "high"])[np.digitize(x[:, 1], [-0.5, 0.5])],
            "amount": (x[:, 2] * 10 + generator.normal(size=num_rows) + 50).round(2),
        }
    )


def _spec(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": "shapes",
        "data": {"source": {"type": "csv", "path": "rows.csv"}},
        "inputs": {"a/b": "number", "a.b": "number", "../up": "number", "颜色": "category"},
        "outputs": {"late": {"type": "binary", "positive": 1}},
        "model": {"type": "trees", "rounds": 30},
    }
    return {**spec, **changes}


def _run(folder: Path, spec: dict[str, Any]) -> Run:
    path = write_spec(folder, spec)
    _rows().write_csv(folder / "rows.csv")
    return run(path)


@pytest.mark.parametrize("model", ["trees", "network"])
def test_three_outputs_of_three_kinds_in_one_model(tmp_path: Path, model: str) -> None:
    outputs = {"late": {"type": "binary", "positive": 1}, "grade": "multiclass", "amount": "number"}
    done = _run(tmp_path, _spec(outputs=outputs, model={"type": model}, train={"epochs": 3} if model == "network" else {}))
    answers = done.model.predict(pl.read_parquet(done.folders["data"] / "test.parquet"))
    assert [name for name in answers.columns if "." not in name] == ["late", "grade", "amount"]
    assert set(answers["late"]) <= {"0", "1"}, "labels of a CSV are words"
    assert answers["amount"].dtype == pl.Float64
    assert set(answers["grade"]) <= {"low", "middle", "high"} and "grade.decision" not in answers.columns
    assert list(done.report["outputs"]) == ["late", "grade", "amount"]
    assert done.report["outputs"]["amount"]["metrics"]["r2"]["value"] > (0.3 if model == "trees" else -1)
    assert done.manifests["package"].result["parity"]["bitwise"]


def test_a_number_is_valued_and_its_decision_is_a_quantity(tmp_path: Path) -> None:
    value = {"type": "per_unit", "currency": "EUR", "over": 1, "under": 9}
    done = _run(tmp_path, _spec(outputs={"amount": "number"}, value=value, model={"type": "linear"}))
    answers = done.model.predict(pl.read_parquet(done.folders["data"] / "test.parquet"))
    assert (answers["amount.decision"] > answers["amount"]).mean() > 0.9, "too little costs nine times too much"
    assert "EUR" in done.headline
    assert done.report["value"]["policy"]


def test_two_classes_called_multiclass_have_no_decision(tmp_path: Path) -> None:
    done = _run(tmp_path, _spec(outputs={"late": "multiclass"}))
    answers = done.model.predict(pl.read_parquet(done.folders["data"] / "test.parquet"))
    assert answers.columns == ["late", "late.probability.0", "late.probability.1"]
    assert done.report["outputs"]["late"]["metrics"]["accuracy"]["value"] > 0.5


def test_a_split_by_time_judges_by_later_rows_only(tmp_path: Path) -> None:
    spec = _spec(data={"source": {"type": "csv", "path": "rows.csv"}, "split": {"by": "time", "column": "day", "validation": 0.2}})
    done = _run(tmp_path, spec)
    parts = [
        pl.read_parquet(done.folders["data"] / f"{name}.parquet")["day"].cast(pl.String) for name in ("train", "validation", "test")
    ]
    assert parts[0].max() < parts[1].min() <= parts[1].max() < parts[2].min()
    assert done.manifests["train"].result["judged_by"] == "holdout"


def test_a_split_by_group_keeps_customers_apart(tmp_path: Path) -> None:
    split = {"by": "group", "column": "customer"}
    done = _run(tmp_path, _spec(data={"source": {"type": "csv", "path": "rows.csv"}, "split": split}))
    parts = [set(pl.read_parquet(done.folders["data"] / f"{name}.parquet")["customer"]) for name in ("train", "validation", "test")]
    assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]


def test_predict_keeps_columns_on_request_and_nothing_of_an_empty_file(tmp_path: Path) -> None:
    done = _run(tmp_path, _spec())
    rows = _rows(7)
    rows.write_csv(tmp_path / "new.csv")
    found = lode_json("predict", "shapes", tmp_path / "new.csv", "-o", tmp_path / "out.jsonl", "--keep", "--runs", done.runs)
    kept = pl.read_ndjson(tmp_path / "out.jsonl")
    assert found["predicted"] == 7 and kept["颜色"].to_list() == rows["颜色"].to_list() and "late.decision" in kept.columns
    before = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "none.csv").write_text(",".join(rows.columns) + "\n")
    refused = lode("predict", "shapes", tmp_path / "none.csv", "-o", tmp_path / "out.jsonl", "--runs", done.runs)
    assert refused.returncode == 2 and (tmp_path / "out.jsonl").read_bytes() == before
    assert not list(tmp_path.glob(".out*"))


def test_a_bad_cell_is_an_error_from_python_too(tmp_path: Path) -> None:
    done = _run(tmp_path, _spec())
    rows = _rows(3).with_columns(pl.Series("a.b", ["1", "x", "2"]))
    with pytest.raises(DataError, match=r"row 1, a\.b: found .*x.*allowed: a number"):
        done.model.predict(rows)
