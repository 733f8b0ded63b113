"""A model is judged by groups that it does not see, and on damaged inputs: from lode.yaml to the page and `--json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError, SpecError
from lode.core.spec import load
from lode.pipeline.carried import carried
from lode.pipeline.run import run
from tests.flows.flow import lode_here, lode_json, write_spec
from tests.flows.test_tasks import CASES, table


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    """1,500 loans; who is granted one hangs on income alone, which women have less of. `code` has one value."""
    generator = np.random.default_rng(0)
    sex = generator.choice(["man", "woman"], 1500)
    income = generator.normal(30, 8, 1500) - 9 * (sex == "woman")
    frame = pl.DataFrame({
        "income": income, "town": generator.choice(["north", "south"], 1500), "sex": sex, "age": generator.integers(18, 80, 1500),
        "code": ["x"] * 1500, "repaid": np.where(income + generator.normal(0, 4, 1500) > 27, "yes", "no"),
    })  # fmt: skip
    frame.write_csv(tmp_path / "loans.csv")
    return tmp_path


def spec(evaluate: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "loans",
        "data": {"source": {"type": "csv", "path": "loans.csv"}},
        "inputs": ["income", "town"],
        "outputs": {"repaid": {"type": "binary", "positive": "yes"}},
        "model": "linear",
        "evaluate": {"resamples": 200, **evaluate},
        **changes,
    }


def test_groups_and_damages_reach_the_page_the_warnings_and_json(loans: Path) -> None:
    damages = ["absent", {"type": "noise", "deviation": 0.5}]
    path = write_spec(loans, spec({"protected": ["sex", "age"], "slices": ["age", "town"], "robustness": damages}))
    found = lode_json("run", path)
    evaluated = found["stages"]["evaluate"]["result"]
    by_sex, by_age = evaluated["fairness"]["repaid"]["columns"]
    assert by_sex["ratio"]["below"][0]["group"] == "woman"
    # The snapshot holds what is no input as text; a number it is all the same.
    assert len(by_age["groups"]) == 4 and " to " in by_age["groups"][0]["group"]
    assert [(entry["damage"], entry["inputs"]) for entry in evaluated["robustness"]["repaid"]["damages"]] == [
        ("absent", ["income"]), ("noise", ["income"]), ("absent", ["town"]),
    ]  # fmt: skip
    assert 'by sex, surely less than four fifths as many get "yes" as of man: woman' in found["summary"]
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "Do groups of people get the same?" in page and "What if its inputs are damaged?" in page
    assert [column["name"] for column in found["stages"]["package"]["result"].get("inputs", [])] in ([], ["income", "town"])


def test_judging_by_an_input_trains_nothing_again(loans: Path) -> None:
    first = run(write_spec(loans, spec({})))
    again = run(write_spec(loans, spec({"protected": ["town"], "robustness": True})))
    assert again.manifests["data"].cached and again.manifests["train"].cached and not again.manifests["evaluate"].cached
    assert first.manifests["evaluate"].result.keys() == {"headline"}


def test_judging_by_another_column_changes_no_answer(loans: Path) -> None:
    rows = pl.read_csv(loans / "loans.csv").head(50).select("income", "town")
    first = run(write_spec(loans, spec({}))).model.predict(rows)
    assert run(write_spec(loans, spec({"protected": ["sex"]}))).model.predict(rows).equals(first)


def test_a_column_that_is_not_there_is_told_before_anything_is_trained(loans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = lode_here(capsys, "run", write_spec(loans, spec({"protected": ["sexx"]})))
    assert done.returncode == 2 and 'lode.yaml:evaluate.protected (line 16): no column "sexx" in the data' in done.stderr
    assert 'Did you mean "sex"?' in done.stderr and "train:" not in done.stderr
    for key in ("protected", "slices"):
        with pytest.raises(DataError, match=rf'evaluate\.{key}.*: found "code", which is not among the test rows'):
            run(write_spec(loans, spec({key: ["code"]}, inputs=None)))
        assert not (loans / "runs" / "train").exists()


@pytest.mark.parametrize("key", ["protected", "slices"])
def test_files_and_lists_make_no_groups(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was a traceback of polars, after all training."""
    table().with_columns(steps=pl.concat_list("a", "b")).write_parquet(tmp_path / "rows.parquet")
    changes = {
        "data": {"source": {"type": "parquet", "path": "rows.parquet"}},
        "inputs": {"steps": "series", "b": "number"},
        "outputs": {"amount": "number"},
    }
    done = lode_here(capsys, "run", write_spec(tmp_path, spec({key: ["steps"]}, **changes)))
    assert done.returncode == 2 and f"evaluate.{key}" in done.stderr and "train:" not in done.stderr
    assert 'found "steps" of type series, allowed: words or numbers. Name another column.' in done.stderr


def test_a_damage_that_is_none_is_told_by_the_check(loans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = lode_here(capsys, "check", write_spec(loans, spec({"robustness": ["typo"]})))
    assert done.returncode == 2 and 'evaluate.robustness[0] (line 17): found "typo", allowed: absent, blur' in done.stderr
    assert 'Did you mean "typos"?' in done.stderr
    done = lode_here(capsys, "check", write_spec(loans, spec({"robustness": [{"type": "noise", "deviation": 0}]})))
    assert done.returncode == 2 and "evaluate.robustness[0].deviation (line 18): found 0, allowed: a number, above 0" in done.stderr


def test_only_columns_that_the_snapshot_lacks_are_carried(loans: Path) -> None:
    money = {"currency": "EUR", "true_positive": "age", "false_positive": -10, "false_negative": 0, "true_negative": 0}
    changes = {"value": money, "data": {"source": {"type": "csv", "path": "loans.csv"}, "split": {"by": "group", "column": "code"}}}
    made = load(write_spec(loans, spec({"slices": ["town", "repaid", "code", "sex"], "protected": ["sex", "age"]}, **changes)))
    assert carried(made) == {"age": "value", "sex": "evaluate.slices"}


@pytest.mark.parametrize("name", ["tags", "odd", "rank", "several", "series"])
def test_outputs_and_inputs_of_every_kind_are_damaged_and_sliced_by_groups(name: str, tmp_path: Path) -> None:
    """What is no decision is sliced by the protected column; parts of a text that carry tags stay where they are."""
    frame = table().with_columns(side=pl.when(pl.col("b") > 0).then(pl.lit("left")).otherwise(pl.lit("right")))
    steps = pl.concat_list(pl.col("a") * place for place in range(1, 11))
    frame.with_columns(steps=steps).write_parquet(tmp_path / "rows.parquet")
    series = {"inputs": {"steps": "series"}, "outputs": {"amount": "number"}, "model": "linear"}
    case = {"series": series, **CASES}[name]
    path = write_spec(tmp_path, {
        "name": name,
        "data": {"source": {"type": "parquet", "path": "rows.parquet"}, "split": case.get("split", {})},
        **{key: case[key] for key in ("inputs", "outputs", "model", "train") if key in case},
        "evaluate": {"resamples": 100, "protected": ["side"], "robustness": True},
    })  # fmt: skip
    report = run(path, runs=tmp_path / "runs").report
    for output, record in report["outputs"].items():
        is_number = name == "series"
        assert ("fairness" in record) == is_number, output
        assert {"side"} <= {group["column"] for group in record["slices"]["groups"]} or is_number
        if name == "odd":
            assert "robustness" not in record, "nothing says what is right"
        else:
            found = {entry["damage"] for entry in record["robustness"]["damages"]}
            assert found == {"tags": {"missing"}, "series": {"missing", "noise", "gap"}}.get(
                name, {"missing", "absent", "noise", "units"}
            )


@pytest.mark.parametrize(
    ("outputs", "evaluate", "told"),
    [
        (
            {"bought": {"type": "binary", "positive": "yes"}},
            {"favourable": "negative"},
            "without evaluate.protected, allowed: beside it",
        ),
        ({"bought": "number"}, {"favourable": "negative", "protected": ["who"]}, "without a binary output, allowed: beside one"),
    ],
)
def test_a_favourable_answer_that_nobody_reads_is_told_by_check(
    tmp_path: Path, outputs: dict[str, Any], evaluate: dict[str, Any], told: str
) -> None:
    with pytest.raises(SpecError, match=rf'evaluate.favourable \(line \d+\): found "negative" {told}'):
        load(write_spec(tmp_path, spec(evaluate, outputs=outputs)))
