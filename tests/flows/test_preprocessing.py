"""`select`, `reduce` and what learns from the target, through every stage: what is served is what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.app.contracts import RequestError
from lode.core.errors import SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.pipeline import artifact, loading
from lode.pipeline.run import Run, run
from tests.flows.flow import write_spec

SPEC: dict[str, Any] = {
    "name": "lean",
    "data": {
        "source": {"type": "sklearn", "name": "breast_cancer"},
        "select": {"keep": 6},
        "reduce": {"components": 3},
    },
    "outputs": {"diagnosis": {"type": "binary", "positive": "malignant"}},
    "model": "linear",
    "evaluate": {"importance": False, "map": "tsne", "map_rows": 60},
}


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(write_spec(tmp_path_factory.mktemp("lean"), SPEC))


def test_the_model_asks_for_the_kept_inputs_only(lean: Run) -> None:
    model = loading.load("lean", lean.runs)
    kept = [column.name for column in model.columns]
    assert len(kept) == 6 and lean.report["outputs"]["diagnosis"]["metrics"]["auc"]["value"] > 0.95
    test = pl.read_parquet(lean.folders["data"] / "test.parquet")
    assert model.predict(test).equals(model.predict(test.select(kept)))
    assert lean.manifests["package"].result["parity"]["largest_difference"] <= artifact.TOLERANCE
    row = test.select(*kept, "mean radius", "mean texture", "mean area").row(0, named=True)
    protocol = REGISTRIES["protocol"].create(Component("rest"), model, 10)
    assert list(protocol.decode(json.dumps({"rows": [row]}).encode()).columns) == kept, "a request may have what was left out"
    with pytest.raises(RequestError):
        protocol.decode(json.dumps({"rows": [row | {"diagnosis": "benign"}]}).encode())


def test_the_report_says_what_was_kept_what_was_reduced_and_shows_the_plane(lean: Run) -> None:
    facts = lean.report["facts"]
    assert sum(entry["kept"] for entry in facts["inputs_kept"]) == 6 and len(facts["inputs_kept"]) == 30
    assert len(facts["directions"]["explained"]) == 3 and len(facts["directions"]["inputs"]) == 6
    page = (lean.folders["evaluate"] / "report.html").read_text("utf-8")
    for title in ("Which inputs were kept", "Numbers reduced to directions", "The data in two dimensions"):
        assert title in page


def test_another_selection_reads_the_same_snapshot_and_is_part_of_training(lean: Run) -> None:
    data = {**SPEC["data"], "select": {"keep": 5}}
    other = run(write_spec(lean.spec.path.parent / "other", {**SPEC, "data": data}), runs=lean.runs, until="data")
    assert other.manifests["data"].cached and other.manifests["data"].key == lean.manifests["data"].key
    assert lean.manifests["train"].inputs["select"]["keep"] == 6 and lean.manifests["train"].inputs["reduce"]["components"] == 3


def test_target_encoding_and_bins_are_served_as_they_were_trained(tmp_path: Path) -> None:
    rows = pl.DataFrame({"shop": [f"s{place % 37}" for place in range(300)], "size": [place * 7 % 101 for place in range(300)]})
    rows = rows.with_columns(late=pl.Series(["yes" if place % 37 < 12 or place % 11 == 0 else "no" for place in range(300)]))
    rows.write_csv(tmp_path / "rows.csv")
    spec = {
        "name": "late",
        "data": {"source": {"type": "csv", "path": "rows.csv"}},
        "inputs": {"shop": {"type": "category", "encode": "target"}, "size": {"type": "number", "bins": 4}},
        "outputs": {"late": {"type": "binary", "positive": "yes"}},
        "model": {"type": "network", "width": 16},
        "train": {"epochs": 3},
        "evaluate": {"importance": False},
    }
    made = run(write_spec(tmp_path, spec))
    assert made.report["outputs"]["late"]["metrics"]["auc"]["value"] > 0.8
    assert made.manifests["package"].result["parity"]["bitwise"]


def test_an_encoder_of_a_number_that_is_reduced_is_refused(tmp_path: Path) -> None:
    inputs = {"mean_radius": {"type": "number", "encoder": {"type": "mlp"}}, "mean_area": "number"}
    with pytest.raises(
        SpecError, match=r"inputs\.mean_radius\.encoder \(line 22\): found encoder options for a number, but `data\.reduce`"
    ):
        run(write_spec(tmp_path, {**SPEC, "model": "network", "inputs": inputs}))
