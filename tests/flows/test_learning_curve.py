"""`evaluate.learning_curve`: a whole run by several kinds of split, with money; a killed one goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.pipeline import train
from lode.pipeline.run import run

FILE = """
name: curve
data:
  source: {{type: csv, path: rows.csv}}
  split: {split}
inputs: {{age: number, score: number}}
outputs:
  bought: {{type: binary, positive: yes}}
model: {model}
value: {{currency: EUR, true_positive: 10, false_positive: -4, false_negative: 0, true_negative: 0, decisions: 10000}}
evaluate: {{learning_curve: 2, resamples: 200}}
"""


def write(folder: Path, split: str = "{seed: 0}", model: str = "linear") -> Path:
    rng = np.random.default_rng(0)
    count = 1200
    age, score = rng.normal(40, 10, count), rng.normal(0, 1, count)
    bought = np.where(score + 0.05 * (age - 40) + rng.normal(0, 0.7, count) > 0, "yes", "no")
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 2, 19, 23), "1h", eager=True)
    frame = pl.DataFrame({"age": age, "score": score, "bought": bought, "day": days, "who": np.arange(count) // 10})
    frame.write_csv(folder / "rows.csv")
    path = folder / "lode.yaml"
    path.write_text(FILE.format(split=split, model=model))
    return path


@pytest.mark.parametrize(
    "split",
    ["{seed: 0}", "{by: group, column: who}", "{by: time, column: day, validation: 0.3}", "{by: group, column: who, folds: 3}"],
)
def test_twice_the_rows_are_told_in_the_metric_and_in_money(tmp_path: Path, split: str) -> None:
    said: list[str] = []
    done = run(write(tmp_path, split), say=said.append)
    found = done.report["facts"]["learning_curve"]
    rows = done.manifests["data"].result["rows"]
    whole = rows["train"] + rows["validation"]
    record, paid = found["outputs"]["bought"], found["money"]
    assert [point["rows"] for point in record["points"]] == pytest.approx([whole / 8, whole / 4, whole / 2, whole], abs=15)
    by_time = "time" in split  # the latest rows are the same ones each time: a second fit would be the first one again
    assert [point["fits"] for point in record["points"]] == ([1, 1, 1, 1] if by_time else [2, 2, 2, 1])
    assert len(found["notes"]) == by_time
    # The last point is the packaged model on the same rows as the rest of the report.
    first = done.report["outputs"]["bought"]["metrics"]["auc"]
    assert (record["points"][-1]["value"], record["points"][-1]["low"]) == (first["value"], first["low"])
    assert paid["points"][-1]["value"] == pytest.approx(float(done.report["value"]["value"]), abs=0.01)
    assert record["gain"]["rows"] == whole and record["gain"]["low"] <= record["gain"]["value"] <= record["gain"]["high"]
    points = record["points"]
    assert record["last"]["measured"] == pytest.approx(points[-1]["value"] - points[-2]["value"])
    assert found["sentence"] in "\n".join(said) and "Over 10,000 decisions a further row is worth" in found["sentence"]
    assert "Would more data help?" in (done.folders["evaluate"] / "report.html").read_text("utf-8")


def test_a_killed_curve_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    fits: list[int] = []
    logged: list[bool] = []
    real = train.train

    def counted(development, *args, **kwargs):  # type: ignore[no-untyped-def]
        fits.append(development.frame.height)
        logged.append(args[1].log_folder is not None)
        if len(fits) == 4:
            raise KeyboardInterrupt
        return real(development, *args, **kwargs)

    monkeypatch.setattr(train, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        run(path, until="evaluate")  # the train stage itself is the first of them
    stopped = run(path).report["facts"]["learning_curve"]
    assert len(fits) == 4 + 4, "the train stage and two fits were done, one was cut off, four were left"
    assert logged == [True] + [False] * 7, "`train.log` is of the model that is packaged; the others wrote over it"
    assert stopped == run(path, runs=tmp_path / "again").report["facts"]["learning_curve"]


def test_an_ensemble_is_fitted_again_as_one_and_alone(tmp_path: Path) -> None:
    done = run(write(tmp_path, model="{type: ensemble, members: [linear, trees], method: voting}"))
    found = done.report["facts"]["learning_curve"]
    assert found["model"] == "ensemble" and len(found["outputs"]["bought"]["points"]) == 4


def test_too_few_rows_are_told(tmp_path: Path) -> None:
    path = write(tmp_path)
    frame = pl.read_csv(tmp_path / "rows.csv").head(150)
    frame.write_csv(tmp_path / "rows.csv")
    found = run(path).report["facts"]["learning_curve"]
    assert [point["fits"] for point in found["outputs"]["bought"]["points"]] == [2, 1]
    assert "13 rows are too few" in found["notes"][0] or "15 rows are too few" in found["notes"][0]
    assert found["sentence"].startswith("There are too few rows")


@pytest.mark.data
def test_on_real_customers_more_rows_helped_and_the_forecast_held(lode_data: Path, tmp_path: Path) -> None:
    """What 7,043 customers of a telephone company say: an eighth ranks clearly worse than all, and the last doubling was foretold."""
    path = write(tmp_path, model="linear")
    text = path.read_text("utf-8").replace("rows.csv", "tabular/telco_churn.csv.gz").replace("bought:", "Churn:")
    text = text.replace("inputs: {age: number, score: number}\n", "").replace("positive: yes", 'positive: "Yes"')
    path.write_text(text, "utf-8")
    record = run(path, data=lode_data, until="evaluate").report["facts"]["learning_curve"]["outputs"]["Churn"]
    first, last = record["points"][0], record["points"][-1]
    assert first["rows"] < 720 and last["value"] > first["value"] + 0.005
    assert record["last"]["low"] < record["last"]["measured"] < record["last"]["high"]
    assert -0.01 < record["gain"]["low"] < record["gain"]["high"] < 0.02
