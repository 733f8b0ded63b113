"""From raw rows to a snapshot: what is kept, what is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.spec import DataSpec, InputSpec, OutputSpec
from lode.core.types import Component
from lode.data import reading
from lode.data.contracts import ROW
from lode.data.ingest import Ingested, ingest
from lode.data.place import Place
from lode.data.preprocess import Preprocessor
from lode.data.sources import csv
from lode.data.split import PARTS
from lode.data.storage import shelf

POSITIVE = {"y": {"type": "binary", "positive": "yes"}}


def component(value: Any) -> Component | None:
    if value is None:
        return None
    record = {"type": value} if isinstance(value, str) else dict(value)
    return Component(record.pop("type"), record)


def run(
    folder: Path,
    source: Any = "rows.csv",
    outputs: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    clean: tuple[Any, ...] = (),
    **split: Any,
) -> Ingested:
    parts = source if isinstance(source, dict) and "type" not in source else {"all": [source]}
    sources = {
        part: tuple(Component("csv", {"path": item}) if isinstance(item, str) else component(item) for item in items)
        for part, items in parts.items()
    }
    extra = split.pop("extra", ())
    data = DataSpec(sources, tuple(component(item) for item in clean), split)  # type: ignore[arg-type]
    asked = None if inputs is None else tuple(InputSpec(name, component(value)) for name, value in inputs.items())
    wanted = tuple(OutputSpec(name, component(value)) for name, value in (outputs or POSITIVE).items())
    return ingest(data, asked, wanted, Place(folder), folder / "snapshot", extra=dict.fromkeys(extra, "value"))


def read(folder: Path, part: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "snapshot" / f"{part}.parquet")


def whole(folder: Path) -> pl.DataFrame:
    return pl.concat([read(folder, part) for part in PARTS]).sort(ROW)


def table(folder: Path, rows: int = 100, name: str = "rows.csv", **columns: list[Any]) -> None:
    rng = np.random.default_rng(0)
    base = {
        "age": [str(age) for age in rng.integers(18, 80, rows)],
        "city": [("Bern", "Oslo", "Rome")[code] for code in rng.integers(0, 3, rows)],
        "y": [("no", "yes")[code] for code in rng.integers(0, 2, rows)],
    }
    pl.DataFrame({**base, **columns}, strict=False).write_csv(folder / name)


def fails(folder: Path, *args: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        run(folder, *args, **options)
    return str(caught.value)


def test_rows_keep_their_place_their_types_and_their_parts(tmp_path: Path) -> None:
    table(tmp_path)
    done = run(tmp_path)
    assert done.rows == {"train": 70, "validation": 10, "test": 20}
    assert {name: item.type for name, item in done.inputs.items()} == {"age": "number", "city": "category"}
    rows = whole(tmp_path)
    assert rows[ROW].to_list() == list(range(100)) and rows[ROW].dtype == pl.UInt64
    raw = pl.read_csv(tmp_path / "rows.csv", infer_schema=False)
    assert rows["age"].to_list() == [float(age) for age in raw["age"]]
    assert rows["city"].to_list() == raw["city"].to_list() and rows["y"].to_list() == raw["y"].to_list()
    assert done.raw[0]["path"] == "rows.csv" and done.raw[0]["bytes"] == (tmp_path / "rows.csv").stat().st_size


def test_the_same_bytes_give_the_same_snapshot_and_other_seeds_another(tmp_path: Path) -> None:
    table(tmp_path)
    first, second, other = run(tmp_path), run(tmp_path), run(tmp_path, seed=1)
    assert first == second and first.content_hash != other.content_hash


def test_large_files_read_with_hints_give_the_same_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, 400, age=[" 31 ", "7.5", "1e2", "4"] * 100, city=[" a", "b ", "?", "1.0"] * 100, flag=["01", "02"] * 200)
    plain = run(tmp_path)
    monkeypatch.setattr(reading, "HINT_ROWS", 100)
    assert run(tmp_path) == plain
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 1_000)  # cut into pieces, as a large file is
    assert run(tmp_path) == plain
    monkeypatch.setattr(shelf, "_IN_MEMORY", 10**12)
    assert run(tmp_path) == plain
    assert sorted(path.name for path in (tmp_path / "snapshot").iterdir()) == sorted(
        ["changes.parquet", "report.json", "schema.json", "test.parquet", "train.parquet", "validation.parquet"]
    )


@pytest.mark.parametrize("cell", ["five", "nan", "NA", "inf", "1,000", ""])
def test_a_hint_that_fails_late_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    table(tmp_path, 400, age=[str(n % 37) for n in range(399)] + [cell])

    def outcome() -> Any:
        try:
            return run(tmp_path)
        except DataError as error:
            return str(error)

    plain = outcome()
    monkeypatch.setattr(reading, "HINT_ROWS", 100)
    assert outcome() == plain
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 1_000)
    assert outcome() == plain


@pytest.mark.parametrize("fault", ["31,Bern\n", "31\n", "31,Bern,yes,7\n", "\n", "31,Bern,\n", '31,"Bern,yes\n', "31,\udcff,yes\n"])
def test_a_fault_behind_the_first_rows_is_told_as_it_is_in_a_small_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    table(tmp_path, 400)
    text = (tmp_path / "rows.csv").read_text().splitlines(keepends=True)
    (tmp_path / "rows.csv").write_text("".join([*text[:300], fault, *text[300:]]), errors="surrogateescape")

    def outcome() -> Any:
        try:
            return run(tmp_path)
        except DataError as error:
            return str(error)

    plain = outcome()
    monkeypatch.setattr(reading, "HINT_ROWS", 100)
    assert outcome() == plain
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 1_000)
    assert outcome() == plain


def test_sources_that_write_words_differently_keep_their_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, 200, "a.csv", city=["x", "-"] * 100)
    table(tmp_path, 200, "b.csv", city=["x", "-"] * 100)
    source = {"train": [{"type": "csv", "path": "a.csv", "null_values": ["-"]}], "test": ["b.csv"]}
    plain = run(tmp_path, source)
    assert read(tmp_path, "train")["city"].has_nulls() and not read(tmp_path, "test")["city"].has_nulls()
    monkeypatch.setattr(reading, "HINT_ROWS", 100)
    assert run(tmp_path, source) == plain


def test_cells_replaced_in_one_source_meet_clean_cells_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HINT_ROWS", 100)
    table(tmp_path, 200, "a.csv", y=[" no", " yes"] * 100)
    table(tmp_path, 200, "b.csv", y=["no.", "yes."] * 100)
    other = {"type": "csv", "path": "b.csv", "replace": {"y": {"no.": "no", "yes.": "yes"}}}
    done = run(tmp_path, {"train": ["a.csv"], "test": [other]})
    assert whole(tmp_path)["y"].unique().sort().to_list() == ["no", "yes"]
    assert not any("do not occur" in note for note in done.notes)


def test_given_sources_are_given_parts(tmp_path: Path) -> None:
    table(tmp_path, 60, "train.csv")
    table(tmp_path, 20, "more.csv")
    table(tmp_path, 30, "test.csv")
    done = run(tmp_path, {"train": ["train.csv", "more.csv"], "test": ["test.csv"]}, validation=0.25)
    assert done.rows == {"train": 60, "validation": 20, "test": 30}
    assert read(tmp_path, "test")[ROW].to_list() == list(range(80, 110))
    assert any("no validation part is given, 25% was cut" in note for note in done.notes)
    assert "the sources are given as parts" in fails(
        tmp_path, {"train": ["train.csv"], "test": ["test.csv"]}, by="time", column="age"
    )


def test_sources_with_other_columns_are_refused(tmp_path: Path) -> None:
    table(tmp_path, 60, "train.csv")
    (tmp_path / "test.csv").write_text("age,city\n1,a\n")
    assert "test.csv (test): no column 'y', which train.csv has" in fails(tmp_path, {"train": ["train.csv"], "test": ["test.csv"]})


def test_a_given_column_and_money_are_carried_but_are_no_inputs(tmp_path: Path) -> None:
    table(tmp_path, part=["train"] * 70 + ["test"] * 30, cost=["1.10"] * 50 + ["2.20"] * 50)
    done = run(tmp_path, by="given", column="part", extra=("cost",))
    assert set(done.inputs) == {"age", "city"}
    assert whole(tmp_path)["cost"].to_list() == ["1.10"] * 50 + ["2.20"] * 50
    assert "part" in whole(tmp_path).columns


def test_what_was_inferred_and_left_out_is_noted_and_written(tmp_path: Path) -> None:
    table(tmp_path, id=list(range(1, 101)), same=["x"] * 100)
    done = run(tmp_path, outputs={"y": {"type": "binary", "positive": "yes"}})
    assert "inputs: age was inferred as number." in done.notes
    assert "inputs: id is not used, it counts the rows up by one, like a number of the row." in done.notes
    schema = json.loads((tmp_path / "snapshot" / "schema.json").read_text())["columns"]
    assert schema["age"] == {"role": "input", "type": "number", "inferred": True, "why": "every cell is a number"}
    assert schema["same"]["role"] == "ignored" and schema["same"]["why"] == "has the same value in every row"


def test_names_that_do_not_exist_are_told_together_with_near_misses(tmp_path: Path) -> None:
    table(tmp_path)
    message = fails(tmp_path, inputs={"agee": "number", "city": None}, outputs={"yy": None})
    assert 'outputs.yy: no column "yy" in the data, found age, city, y. Did you mean "y"?' in message
    assert 'inputs.agee: no column "agee" in the data, found age, city, y. Did you mean "age"?' in message


def test_cells_that_are_not_of_the_named_type_are_counted_with_samples(tmp_path: Path) -> None:
    table(tmp_path, age=["31"] * 97 + ["five", "inf", "1,000"])
    message = fails(tmp_path, inputs={"age": "number", "city": None})
    assert message == (
        "inputs.age: 3 cells are not a number ('five', 'inf', '1,000'; first in row 97, counted from 0). "
        "Add `{type: types}` to data.clean, mend them, or name another type."
    )


def test_the_types_cleaner_mends_and_reports_them(tmp_path: Path) -> None:
    table(tmp_path, age=[str(n % 40) for n in range(97)] + ["five", "inf", "1,000"])
    done = run(tmp_path, clean=("types",))
    assert done.inputs["age"].type == "number"
    assert whole(tmp_path)["age"].to_list()[-3:] == [None, None, 1000.0]
    assert "clean types: 3 cells were changed, 2 of them to missing ('five', 'inf')." in done.notes
    changed = pl.read_parquet(tmp_path / "snapshot" / "changes.parquet")
    assert changed.select("row", "column", "before", "after", "cleaner", "split").rows() == [
        (97, "age", "five", None, "types", None),
        (98, "age", "inf", None, "types", None),
        (99, "age", "1,000", "1000", "types", None),
    ]


def test_mixed_types_without_a_name_are_an_error(tmp_path: Path) -> None:
    table(tmp_path, age=[str(n) for n in range(97)] + ["five", "-", "1,000"])
    assert "inputs.age: 97 cells are numbers, 3 are not" in fails(tmp_path)


def test_cleaners_of_the_source_of_training_rows_and_of_cells_do_their_part(tmp_path: Path) -> None:
    table(
        tmp_path,
        age=["30", "", "50", "60"] * 25,
        city=["a", "b", "c", "d"] * 25,
        y=["no", "yes", "no", "yes"] * 25,
        n=list(range(100)),
    )
    done = run(tmp_path, inputs={"age": "number", "city": "category", "n": "number"}, clean=({"type": "missing", "drop": True},))
    assert done.rows["train"] < 70 and not read(tmp_path, "train")["age"].has_nulls() and read(tmp_path, "test")["age"].has_nulls()
    done = run(
        tmp_path,
        inputs={"age": "number", "city": "category"},
        clean=("duplicates", {"type": "missing", "numbers": "zero"}),
        test=0.25,
        validation=0.25,
    )
    assert sum(done.rows.values()) == 4
    report = json.loads((tmp_path / "snapshot" / "report.json").read_text())
    assert report["rows"]["read"] == 100 and report["rows"]["dropped"] == {"duplicates": 96}
    assert report["cells_changed"] == {"missing": 1}
    assert whole(tmp_path)["age"].has_nulls(), "cells are changed by the model's own cleaner, not in the snapshot"


def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path) -> None:
    table(tmp_path, y=["no", "yes", "", "yes"] * 25)
    done = run(tmp_path)
    assert sum(done.rows.values()) == 75
    assert "outputs: 25 rows without a label (y) were dropped." in done.notes
    assert 2 not in whole(tmp_path)[ROW]


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (["no"] * 100, POSITIVE, 'outputs.y: all 100 labels are "no", there is nothing to learn'),
        ([""] * 100, POSITIVE, "outputs.y: every cell is empty, there is nothing to learn"),
        (
            ["a", "b"] * 50,
            {"y": None},
            'outputs.y: found "a" (50 rows), "b" (50 rows). Name the one that matters: `{type: binary, positive: ',
        ),
        (["a", "b"] * 50, POSITIVE, 'positive "yes" never occurs, found "a" (50 rows), "b" (50 rows)'),
        (["yes", "no", "maybe", "no"] * 25, POSITIVE, "3 labels found"),
        (["7"] * 100, {"y": "number"}, "outputs.y: all 100 numbers are 7"),
        (["7", "x"] * 50, {"y": "number"}, "outputs.y: 50 of 100 cells are no number ('x'"),
    ],
)
def test_outputs_that_cannot_be_learnt_are_refused(
    tmp_path: Path, labels: list[str], outputs: dict[str, Any], message: str
) -> None:
    table(tmp_path, y=labels)
    assert message in fails(tmp_path, outputs=outputs)


def test_a_positive_label_may_be_written_as_a_number(tmp_path: Path) -> None:
    table(tmp_path, y=["0", "1"] * 50)
    assert run(tmp_path, outputs={"y": {"type": "binary", "positive": 1}}).outputs["y"].options == {"positive": 1}


def test_a_class_with_one_row_trains(tmp_path: Path) -> None:
    table(tmp_path, y=["a", "b"] * 49 + ["a", "lonely"])
    done = run(tmp_path, outputs={"y": "multiclass"})
    assert "lonely" in read(tmp_path, "train")["y"].to_list()
    assert any("has one row only" in note for note in done.notes)


def test_labels_that_training_never_sees_are_noted(tmp_path: Path) -> None:
    table(tmp_path, part=["train"] * 70 + ["test"] * 30, y=["a", "b"] * 35 + ["c"] * 30)
    done = run(tmp_path, outputs={"y": "multiclass"}, by="given", column="part")
    assert any("the labels c of y do not occur in training" in note for note in done.notes)


def test_broken_pictures_are_dropped_and_named(tmp_path: Path) -> None:
    from PIL import Image

    for label, shade in (("cats", 10), ("dogs", 200)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (6, 6), shade).save(tmp_path / "pets" / label / f"{index}.png")
    good = (tmp_path / "pets/cats/0.png").read_bytes()
    (tmp_path / "pets/cats/cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "pets/dogs/empty.png").write_bytes(b"")
    for inputs in (None, {"image": "image"}):
        done = run(tmp_path, {"type": "images", "path": "pets"}, {"label": {"type": "binary", "positive": "dogs"}}, inputs)
        assert sum(done.rows.values()) == 20
        assert "image: 2 pictures cannot be read and were dropped (cats/cut.png, dogs/empty.png)." in done.notes


def test_no_input_left_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n" + "x,yes\nx,no\n" * 20)
    assert "no column is left to learn from (a has the same value in every row)" in fails(tmp_path)


def test_a_snapshot_that_cannot_be_made_leaves_no_spool_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, y=["no"] * 100)
    monkeypatch.setattr(shelf, "_IN_MEMORY", 10**12)
    fails(tmp_path)
    assert list((tmp_path / "snapshot").iterdir()) == []


def test_the_report_proves_that_no_group_and_no_later_row_crosses_a_border(tmp_path: Path) -> None:
    table(tmp_path, who=[str(n // 4) for n in range(100)], day=[f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(100)])
    done = run(tmp_path, by="group", column="who")
    proof = json.loads((tmp_path / "snapshot" / "report.json").read_text())["borders"]
    assert proof["in_two_parts"] == 0 and sum(proof["groups"].values()) == 25
    assert any("0 stand in two parts" in note for note in done.notes)
    done = run(tmp_path, by="time", column="day", gap="3d", folds=3)
    proof = json.loads((tmp_path / "snapshot" / "report.json").read_text())
    assert proof["borders"]["overlaps"] == 0 and proof["borders"]["first"]["train"] == "2024-01-01"
    assert proof["rows"]["dropped"]["in a gap of the split"] == 4 and sum(done.rows.values()) == 96
    rows = whole(tmp_path)
    assert rows["__fold__"].null_count() == done.rows["test"] and rows["__fold__"].n_unique() == 5
    assert proof["borders"]["folds"] == {"folds": 3, "overlaps": 0}
    assert any("0 rows are as late as a later part, or less than 3d before it." in note for note in done.notes)


def test_the_report_proves_the_borders_of_folds_and_tells_where_given_ones_have_none(tmp_path: Path) -> None:
    day = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(100)]
    table(tmp_path, who=[f"c{n // 4}" for n in range(100)], day=day, fold=[str(n % 3) for n in range(100)])

    def proved(**split: Any) -> dict[str, Any]:
        run(tmp_path, **split)
        found: dict[str, Any] = json.loads((tmp_path / "snapshot" / "report.json").read_text())["borders"]["folds"]
        return found

    assert proved(by="group", column="who", folds=4) == {"folds": 4, "in_two_folds": 0}
    assert proved(by="group", column="who", folds="each")["in_two_folds"] == 0
    assert proved(by="time", column="day", folds=4, window="sliding", gap="2d") == {"folds": 4, "overlaps": 0}
    crossed = proved(by="group", column="who", fold_column="fold")
    assert crossed["folds"] == 3 and crossed["in_two_folds"] > 15
    assert proved(by="time", column="day", fold_column="fold")["overlaps"] > 100


def test_a_request_is_read_as_the_data_were(tmp_path: Path) -> None:
    """Percent signs that mean nothing in the data (5% beside 6) mean nothing in a request either: the snapshot no longer shows them."""
    table(tmp_path, age=[f"{5 + n % 4}%" if n % 2 else str(5 + n % 4) for n in range(100)])
    done = run(tmp_path, clean=("types",))
    assert set(whole(tmp_path)["age"]) == {5.0, 6.0, 7.0, 8.0}
    preprocessor = Preprocessor(done.inputs, [Component("types")], learnt=done.learnt)
    preprocessor.fit(read(tmp_path, "train"))
    asked = pl.DataFrame({"age": ["6%", "6"], "city": ["a", "a"]})
    arrays = Preprocessor.from_state(preprocessor.state()).arrays(asked)
    assert np.array_equal(arrays["age"][0], arrays["age"][1])


@pytest.mark.parametrize("kind", ["number", "category", "binary", "date"])
def test_blank_texts_of_typed_sources_are_missing_as_in_a_csv(tmp_path: Path, kind: str) -> None:
    """JSON, Parquet and databases tell "" apart from null."""
    cell = {"number": "1.5", "category": "a", "binary": "yes", "date": "2024-01-31"}[kind]
    other = {"number": "2", "category": "b", "binary": "no", "date": "2024-02-01"}[kind]
    labels = ["yes", "no"] * 49 + ["", " "]
    frame = pl.DataFrame({"x": [cell, other, "", "  "] * 25, "z": [float(n % 7) for n in range(100)], "y": labels})
    frame.write_parquet(tmp_path / "rows.parquet")
    done = run(tmp_path, inputs={"x": kind, "z": "number"}, source={"type": "parquet", "path": "rows.parquet"})
    rows = whole(tmp_path)
    assert rows["x"].null_count() == 48 and len(rows) == 98
    assert "outputs: 2 rows without a label (y) were dropped." in done.notes


def test_blank_labels_are_no_numbers_to_learn(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [float(n % 7) for n in range(100)], "y": [*(str(n) for n in range(98)), "", " "]})
    frame.write_parquet(tmp_path / "rows.parquet")
    run(tmp_path, inputs={"x": "number"}, outputs={"y": "number"}, source={"type": "parquet", "path": "rows.parquet"})
    assert whole(tmp_path)["y"].to_list() == [float(n) for n in range(98)]


def test_names_that_lode_keeps_for_itself_are_left_out_and_never_asked_for(tmp_path: Path) -> None:
    """A table that was exported from a snapshot has `__row__`; it must not meet the new numbers."""
    table(
        tmp_path, __row__=[str(row * 3) for row in range(100)], __keep__=["x"] * 100, amount=[str(row * row) for row in range(100)]
    )
    done = run(tmp_path, clean=("duplicates",))
    assert list(done.inputs) == ["age", "city", "amount"]
    assert "inputs: __row__ is not used, it has a name that lode keeps for itself." in done.notes
    assert whole(tmp_path)[ROW].to_list() == list(range(100))
    assert 'data.split: "__row__" is a name that lode keeps for itself' in fails(tmp_path, by="group", column="__row__")
    assert 'inputs.__keep__: "__keep__" is a name' in fails(tmp_path, inputs={"__keep__": "category"})


@pytest.mark.parametrize("word", ["date", "number"])
def test_dates_after_the_year_9999_are_told_not_thrown(tmp_path: Path, word: str) -> None:
    late = pl.Series("when", [253402300800000000 + 86400000000 * day for day in range(40)]).cast(pl.Datetime("us"))
    pl.DataFrame([late, pl.Series("y", ["a", "b"] * 20)]).write_parquet(tmp_path / "x.parquet")
    data = DataSpec({"all": (Component("parquet", {"path": "x.parquet"}),)}, (), {"validation": 0.1, "test": 0.2})
    outputs = (OutputSpec("y", Component("binary", {"positive": "a"})),)
    with pytest.raises(DataError, match=r"inputs\.when: 40 cells are not a .*10000-01-01 00:00:00"):
        ingest(data, (InputSpec("when", Component(word)),), outputs, Place(tmp_path), tmp_path / "out")
