"""Folds that the file asks for decide what is chosen: a whole run by group, by time, and leaving each group out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.pipeline.run import run

FILE = """
name: folds
data:
  source: {{type: csv, path: rows.csv}}
  split: {split}
inputs: {{age: number, score: number}}
outputs:
  bought: {{type: binary, positive: yes}}
model: {{type: auto, candidates: [constant, linear]}}
"""


def rows(folder: Path) -> None:
    rng = np.random.default_rng(0)
    count = 240
    age, score = rng.normal(40, 10, count), rng.normal(0, 1, count)
    bought = np.where(score + 0.05 * (age - 40) + rng.normal(0, 0.7, count) > 0, "yes", "no")
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 8, 27), eager=True)
    pl.DataFrame({"age": age, "score": score, "bought": bought, "day": days, "who": np.arange(count) // 30}).write_csv(
        folder / "rows.csv"
    )


@pytest.mark.parametrize(
    ("split", "rounds"),
    [
        ("{by: group, column: who, folds: 3}", 3),
        ("{by: group, column: who, folds: each}", None),
        ("{by: time, column: day, folds: 3, window: sliding, gap: 2d}", 3),
    ],
)
def test_candidates_are_judged_by_the_folds_of_the_file(tmp_path: Path, split: str, rounds: int | None) -> None:
    rows(tmp_path)
    (tmp_path / "lode.yaml").write_text(FILE.format(split=split))
    done = run(tmp_path / "lode.yaml")
    trained, data = done.manifests["train"].result, done.manifests["data"].result
    assert trained["judged_by"] == "out of fold" and trained["chosen"] == "linear"
    fits = trained["models"]["linear"]["fits"]
    development = data["rows"]["train"] + data["rows"]["validation"]
    if rounds is None:
        snapshot = pl.concat([pl.read_parquet(done.folders["data"] / f"{part}.parquet") for part in ("train", "validation")])
        assert len(fits) == snapshot["who"].n_unique() and trained["judged_rows"] == development
    else:
        assert len(fits) == rounds
        assert trained["judged_rows"] < development if "time" in split else trained["judged_rows"] == development
    assert done.report["outputs"]["bought"]["metrics"]["auc"]["value"] > 0.7
