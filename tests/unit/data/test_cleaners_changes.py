from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import changes
from lode.data.contracts import ROW, Cleaner
from lode.data.split import PARTS
from lode.data.storage.shelf import Shelf


def make(word: str, **options: object) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component(word, options))
    return made


def apply(cleaner: Cleaner, frame: pl.DataFrame, **types: str) -> pl.DataFrame:
    cleaner.fit(frame.lazy(), types)
    return cleaner.apply(frame)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1,234.5", "1234.5"), ("12%", "0.12"), ("12.5 %", "0.125"), ("(300)", "-300"), ("300-", "-300"), ("$ 5", "5"),
        ("\u20ac1.5", "1.5"), ("USD 3,000", "3000"), ("1'000", "1000"), ("1 000", "1000"), (" 7 ", " 7 "), ("1e3", "1e3"),
        ("1,2", None), ("12,34,567", None), ("five", None), ("inf", None), (None, None),
    ],
)  # fmt: skip
def test_numbers_written_for_people_are_read(cell: str | None, expected: str | None) -> None:
    frame = pl.DataFrame({"x": pl.Series([cell], dtype=pl.String)})
    assert apply(make("types"), frame, x="number")["x"].to_list() == [expected]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("1.234,5", "1234.5"), ("1,5", "1.5"), ("1.234", "1234"), ("12,5%", "0.125"), ("(3)", "-3"), ("1,2,3", None)],
)
def test_a_decimal_comma_is_read_when_asked_for(cell: str, expected: str | None) -> None:
    frame = pl.DataFrame({"x": [cell]})
    assert apply(make("types", decimal=","), frame, x="number")["x"].to_list() == [expected]


def test_yes_and_no_become_one_word_each_only_where_nothing_else_stands() -> None:
    frame = pl.DataFrame({"a": ["Yes", "n", "TRUE", None], "b": ["Yes", "n", "maybe", None]})
    after = apply(make("types"), frame, a="binary", b="binary")
    assert after["a"].to_list() == ["true", "false", "true", None]
    assert after["b"].to_list() == frame["b"].to_list()


def test_missing_numbers_take_the_value_of_training_rows() -> None:
    cleaner = make("missing", numbers="median")
    cleaner.fit(pl.DataFrame({"x": [1.0, None, 3.0, 100.0]}).lazy(), {"x": "number"})
    assert cleaner.apply(pl.DataFrame({"x": [None, 7.0]}))["x"].to_list() == [3.0, 7.0]


def test_the_most_frequent_word_is_the_smallest_of_equals() -> None:
    cleaner = make("missing", categories="mode")
    cleaner.fit(pl.DataFrame({"x": ["b", "a", "b", "a", None]}).lazy(), {"x": "category"})
    assert cleaner.apply(pl.DataFrame({"x": pl.Series([None], dtype=pl.String)}))["x"].to_list() == ["a"]


def test_duplicates_look_at_inputs_and_outputs_only() -> None:
    frame = pl.DataFrame({ROW: pl.Series([0, 1, 2], dtype=pl.UInt64), "x": [1, 1, 2], "note": ["a", "b", "c"]})
    assert apply(make("duplicates"), frame, x="number")[ROW].to_list() == [0, 2]
    with pytest.raises(DataError, match='no column "y", found x, note'):
        apply(make("duplicates", columns=["y"]), frame, x="number")


def test_a_diff_has_dropped_rows_and_changed_cells() -> None:
    before = pl.DataFrame({ROW: pl.Series([5, 6, 7], dtype=pl.UInt64), "x": [1.0, None, 3.0], "y": ["a", "b", "c"]})
    after = pl.DataFrame(
        {ROW: pl.Series([5, 6], dtype=pl.UInt64), "x": [1.0, 9.0], "y": ["a", None]}, schema_overrides={"y": pl.String}
    )
    assert changes.diff(before, after).rows() == [
        (6, "x", None, "9.0"),
        (6, "y", "b", None),
        (7, None, None, None),
    ]
    assert changes.diff(before, before).height == 0


def test_a_diff_across_types_sees_only_other_words() -> None:
    before = pl.DataFrame({ROW: pl.Series([0, 1], dtype=pl.UInt64), "x": pl.Series(["a", None], dtype=pl.Enum(["a"]))})
    after = before.with_columns(pl.col("x").cast(pl.String).fill_null("missing"))
    assert changes.diff(before, after).rows() == [(1, "x", None, "missing")]


def test_numbers_are_mended_alike_whether_few_or_many_are_different() -> None:
    cells = ["$1,234", None, "12%", "$2015,500", "7", "five", "(300)"]
    few = pl.Series(cells * 3_000, dtype=pl.String)
    many = pl.Series([f"${1000 + row:,}" for row in range(len(few))])
    expected = ["1234", None, "0.12", None, "7", None, "-300"]
    frame = pl.DataFrame({"few": few, "many": many, "mixed": pl.concat([many.head(9_000), few.tail(len(few) - 9_000)])})
    after = apply(make("types", percent="share"), frame, few="number", many="number", mixed="number")
    assert after["few"].head(7).to_list() == expected
    assert after["many"].to_list() == [str(1000 + row) for row in range(len(few))]
    assert after["mixed"].to_list() == [*after["many"].head(9_000), *after["few"].tail(len(few) - 9_000)]


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_log_says_by_row_what_each_cleaner_did(on_disk: bool, tmp_path: Path) -> None:
    log = changes.ChangeLog(Shelf(tmp_path, 10**9, on_disk=on_disk))
    lines = pl.DataFrame(
        [(7, None, None, None, None), (5, "x", "a", None, None), (6, "x", "b", "c", "marks"), (5, "y", None, "d", None)],
        {**changes.SCHEMA, "why": pl.String}, orient="row",
    )  # fmt: skip
    log.add("types", None, lines)
    log.add("missing", pl.Series(["test", "train"], dtype=pl.Enum(PARTS)), lines[[1, 3]])
    log.write(tmp_path / "changes.parquet")
    found = pl.read_parquet(tmp_path / "changes.parquet")
    assert found.schema == changes.LOG_SCHEMA
    assert found.rows() == [
        (5, "x", "a", None, "types", "types", None), (5, "y", None, "d", "types", "types", None),
        (6, "x", "b", "c", "types", "marks", None), (7, None, None, None, "types", "types", None),
        (5, "x", "a", None, "missing", "missing", "test"), (5, "y", None, "d", "missing", "missing", "train"),
    ]  # fmt: skip
    assert log.tallies["types", None, "x"].changed == 2 and log.tallies["types", None, "x"].lost == 1
    assert log.tallies["missing", "train", "y"].changed == 1


def test_counts_stand_in_one_order_whatever_the_batches(tmp_path: Path) -> None:
    schema = {**changes.SCHEMA, "why": pl.String}
    first = pl.DataFrame([(1, "b", "x", "y", None)], schema, orient="row")
    second = pl.DataFrame([(5, None, None, None, None), (7, "a", "x", "y", None), (8, "b", "x", "y", None)], schema, orient="row")
    whole, parted = (changes.ChangeLog(Shelf(tmp_path, 10**9)) for _ in range(2))
    for log, batches in ((whole, [pl.concat([second, first])]), (parted, [first, second])):
        for batch in batches:
            log.add("types", "train", batch)
        log.add("missing", None, first)
    found = [[(tally.cleaner, tally.split, tally.column, tally.changed) for tally in log.every()] for log in (whole, parted)]
    assert found[0] == found[1] == [
        ("types", "train", None, 1), ("types", "train", "a", 1), ("types", "train", "b", 2), ("missing", None, "b", 1),
    ]  # fmt: skip
    assert [tally.column for tally in parted.cells_of("types", "train")] == ["a", "b"]


def test_samples_are_the_same_whatever_the_batches(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    cells = dice.choice(["x", "y", "z", "v", "w"], 400, p=[0.96, *[0.01] * 4])
    lines = pl.DataFrame(
        {"row": range(400), "column": "a", "before": cells, "after": [None if n % 3 else "b" for n in range(400)], "why": None},
        {**changes.SCHEMA, "why": pl.String},
    )
    found = []
    for batch_rows in (400, 64, 7):
        log = changes.ChangeLog(Shelf(tmp_path, 10**9))
        for start in range(0, 400, batch_rows):
            log.add("types", None, lines[start : start + batch_rows])
        found.append([tally.to_json() for tally in log.every()])
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]["samples"]) > 1 and len(found[0][0]["lost_samples"]) > 1
