"""From one file to a packaged model, and what the folder then knows about itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.errors import ArtifactError
from lode.pipeline import artifact, loading
from lode.pipeline.run import Run, run
from tests.flows.flow import BREAST_CANCER, lode, lode_json, small, write_spec


def test_a_run_ends_in_a_model_with_a_report(finished: Run) -> None:
    assert list(finished.folders) == ["data", "train", "evaluate", "package"]
    assert finished.headline and "EUR" in finished.headline
    assert (finished.folders["evaluate"] / "report.html").stat().st_size > 10_000
    metrics = finished.report["outputs"]["diagnosis"]["metrics"]
    assert metrics["auc"]["value"] > 0.97
    assert metrics["auc"]["low"] <= metrics["auc"]["value"] <= metrics["auc"]["high"]
    assert set(metrics["auc"]["baselines"]) >= {"constant", "linear", "trees"} - {finished.manifests["train"].result["chosen"]}


def test_the_same_file_again_does_nothing_again(finished: Run) -> None:
    again = run(finished.spec.path)
    assert all(manifest.cached for manifest in again.manifests.values())
    assert again.manifests["package"].result == finished.manifests["package"].result


def test_another_folder_gives_the_same_hash(finished: Run, tmp_path: Path) -> None:
    other = run(write_spec(tmp_path, small(BREAST_CANCER)))
    assert other.manifests["package"].result["hash"] == finished.manifests["package"].result["hash"]


def test_every_stage_says_where_it_comes_from(finished: Run) -> None:
    for stage, manifest in finished.manifests.items():
        assert manifest.seconds >= 0 and manifest.peak_memory_bytes > 0 and manifest.versions["polars"], stage
        assert manifest.hardware["cores"] and manifest.outputs, stage
    assert finished.manifests["train"].parents == {"data": finished.manifests["data"].key}
    assert finished.manifests["data"].result["raw"][0]["sha256"]


def test_the_copy_answers_bitwise_as_the_model_in_training(finished: Run) -> None:
    parity = finished.manifests["package"].result["parity"]
    assert parity["bitwise"] and parity["largest_difference"] == 0 and parity["rows"] > 50


def test_offline_and_loaded_predictions_are_the_same(finished: Run, tmp_path: Path) -> None:
    test = pl.read_parquet(finished.folders["data"] / "test.parquet")
    model = loading.load("breast-cancer", finished.runs)
    answers = model.predict(test)
    assert answers.columns[:3] == ["diagnosis", "diagnosis.probability.benign", "diagnosis.probability.malignant"]
    test.write_parquet(tmp_path / "rows.parquet")
    lode_json("predict", "breast-cancer", tmp_path / "rows.parquet", "-o", tmp_path / "out.parquet", "--runs", finished.runs)
    assert pl.read_parquet(tmp_path / "out.parquet").drop("__row__").equals(answers)


def test_a_changed_weight_is_refused(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.model.folder, folder)
    path = folder / "artifact.json"
    path.write_text(path.read_text().replace('"currency": "EUR"', '"currency": "USD"'))
    with pytest.raises(ArtifactError, match=r"artifact\.json: changed since it was packaged"):
        loading.load(folder)


def test_a_model_that_answers_otherwise_fails_its_parity_check(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.model.folder, folder)
    rows = pl.read_parquet(folder / "parity.parquet")
    name = rows.columns[0]
    rows.with_columns(pl.lit(0.0).cast(rows[name].dtype).alias(each) for each in rows.columns).write_parquet(
        folder / "parity.parquet"
    )
    with pytest.raises(ArtifactError, match="parity check failed on"):
        artifact.read(folder).verify()


def test_an_artifact_of_a_later_format_is_refused(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.model.folder, folder)
    path = folder / "artifact.json"
    path.write_text(path.read_text().replace('"format": 1,', '"format": 99,'))
    with pytest.raises(ArtifactError, match="artifact format 99, this lode reads up to"):
        artifact.read(folder)


def test_lineage_goes_back_to_the_raw_bytes(finished: Run) -> None:
    found = lode_json("lineage", "breast-cancer", "--runs", finished.runs)
    assert found["raw"] == finished.manifests["data"].result["raw"]
    assert [entry["stage"] for entry in found["stages"]] == ["data", "train", "evaluate"]


def test_versions_promotion_rollback_and_gc(finished: Run, tmp_path: Path) -> None:
    path = write_spec(tmp_path, small(BREAST_CANCER))
    shutil.copytree(finished.runs, tmp_path / "runs")
    write_spec(tmp_path, {**BREAST_CANCER, "data": {**BREAST_CANCER["data"], "split": {"seed": 8}}, "model": "linear"})
    second = lode_json("run", path)
    assert second["stages"]["package"]["result"]["version"] == 2
    rows = lode_json("artifacts", cwd=tmp_path)["artifacts"]
    assert [(row["version"], row["production"]) for row in rows] == [(2, False), (1, True)]
    assert lode_json("promote", "breast-cancer", cwd=tmp_path) == {"name": "breast-cancer", "version": 2, "before": 1}
    assert lode_json("rollback", "breast-cancer", cwd=tmp_path)["version"] == 1
    assert len(lode_json("runs", cwd=tmp_path)["runs"]) == 2
    half = tmp_path / "runs" / "train" / "half"
    half.mkdir()
    (half / "checkpoint").write_bytes(b"x" * 1000)
    said = lode_json("gc", cwd=tmp_path)
    assert [Path(entry["folder"]).name for entry in said["folders"]] == ["half"] and not said["freed"] and half.exists()
    assert lode_json("gc", "--yes", cwd=tmp_path)["freed"] and not half.exists()
    assert (
        lode_json("predict", "breast-cancer", finished.folders["data"] / "test.parquet", "-o", "out.csv", cwd=tmp_path)["rejected"]
        == 0
    )


def test_stage_by_stage_is_the_same_as_at_once(finished: Run, tmp_path: Path) -> None:
    path = write_spec(tmp_path, small(BREAST_CANCER))
    for stage in ("data", "train", "evaluate", "package"):
        result = lode_json(stage, path)
        assert list(result["stages"])[-1] == stage
    assert result["stages"]["package"]["result"]["hash"] == finished.manifests["package"].result["hash"]


def test_a_person_reads_the_sentence_first(tmp_path: Path, finished: Run) -> None:
    done = lode("run", finished.spec.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == finished.headline
    assert "lode serve breast-cancer" in done.stdout


def test_rejected_rows_go_beside_the_output(finished: Run, tmp_path: Path) -> None:
    test = pl.read_parquet(finished.folders["data"] / "test.parquet")
    name = finished.model.columns[0].name
    rows = test.head(5).with_columns(pl.Series(name, ["1.5", "abc", "2.5", None, "inf"]))
    rows.write_csv(tmp_path / "rows.csv")
    found = lode_json("predict", "breast-cancer", tmp_path / "rows.csv", "-o", tmp_path / "out.csv", "--runs", finished.runs)
    assert (found["rows"], found["predicted"], found["rejected"]) == (5, 3, 2)
    rejected = pl.read_csv(found["rejected_output"])
    assert rejected["__row__"].to_list() == [1, 4] and rejected["column"].to_list() == [name, name]
    assert rejected["found"].to_list()[0].strip("'\"") == "abc"
    assert pl.read_csv(tmp_path / "out.csv")["__row__"].to_list() == [0, 2, 3]


def test_probabilities_add_up_and_decisions_follow_the_threshold(finished: Run) -> None:
    model = finished.model
    answers = model.predict(pl.read_parquet(finished.folders["data"] / "test.parquet"))
    total = answers["diagnosis.probability.benign"] + answers["diagnosis.probability.malignant"]
    assert np.allclose(total.to_numpy(), 1)
    threshold = model.policy.state()["threshold"]
    assert ((answers["diagnosis.probability.malignant"] >= threshold) == answers["diagnosis.decision"]).all()
