from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.split import Split, assign


def parts(
    frame: pl.DataFrame, targets: dict[str, str] | None = None, notes: list[str] | None = None, **options: object
) -> pl.Series:
    return assign(frame, Split(**options), targets or {}, notes)  # type: ignore[arg-type]


def test_shares_are_what_was_asked_and_a_seed_decides() -> None:
    frame = pl.DataFrame({"x": range(1000)})
    first = parts(frame, validation=0.1, test=0.2, seed=3)
    assert dict(first.value_counts().rows()) == {"train": 700, "validation": 100, "test": 200}
    assert first.equals(parts(frame, validation=0.1, test=0.2, seed=3))
    assert not first.equals(parts(frame, validation=0.1, test=0.2, seed=4))


def test_the_first_output_is_stratified_and_that_is_said() -> None:
    notes: list[str] = []
    frame = pl.DataFrame({"y": ["rare"] * 30 + ["often"] * 970})
    found = parts(frame, {"y": "binary"}, notes)
    counts = frame.with_columns(found).group_by("y", "split").len().sort("y", "split").rows()
    assert counts == [
        ("often", "train", 679),
        ("often", "validation", 97),
        ("often", "test", 194),
        ("rare", "train", 21),
        ("rare", "validation", 3),
        ("rare", "test", 6),
    ]
    assert notes == ['split: stratified by the output "y", so that its classes are equally frequent in every part.']


@pytest.mark.parametrize("dtype", [pl.String, pl.Enum(["a", "b", "c"]), pl.Categorical])
def test_how_a_column_is_stored_does_not_change_the_split(dtype: pl.DataType) -> None:
    frame = pl.DataFrame({"y": ["c", "a", "b", "a", None] * 20})
    expected = parts(frame, {"y": "multiclass"})
    assert parts(frame.with_columns(pl.col("y").cast(dtype)), {"y": "multiclass"}).equals(expected)


def test_a_class_with_one_row_trains_and_is_named() -> None:
    notes: list[str] = []
    frame = pl.DataFrame({"y": ["a"] * 20 + ["b"] * 20 + ["lonely"]})
    found = parts(frame, {"y": "multiclass"}, notes)
    assert found[40] == "train"
    assert any("'lonely' of \"y\" has one row only, which goes into training" in note for note in notes)


def test_every_class_with_two_rows_has_one_in_training() -> None:
    frame = pl.DataFrame({"y": [str(index // 2) for index in range(40)]})
    found = parts(frame, {"y": "multiclass"}, validation=0.1, test=0.3)
    assert frame.filter(found == "train")["y"].n_unique() == 20


def test_later_rows_test_and_one_moment_stays_together() -> None:
    frame = pl.DataFrame({"day": ["2024-01-02", "2024-01-01", "2024-01-03", "2024-01-04", "2024-01-04"] * 4})
    found = parts(frame, by="time", column="day", validation=0.2, test=0.2)
    days = {part: set(frame.filter(found == part)["day"]) for part in ("train", "validation", "test")}
    assert max(days["train"]) < min(days["validation"]) <= max(days["validation"]) < min(days["test"])
    assert sum(len(day) for day in days.values()) == 4


def test_numbers_are_times_too_and_other_words_are_an_error() -> None:
    frame = pl.DataFrame({"year": ["9", "10", "11", "12"] * 5})
    found = parts(frame, by="time", column="year", validation=0.25, test=0.25)
    assert set(frame.filter(found == "test")["year"]) == {"12"}
    with pytest.raises(DataError, match=r"1 cells of \"year\" are no time \('soon'\)"):
        parts(pl.DataFrame({"year": ["2024-01-01", "soon", "2024-01-02"]}), by="time", column="year")
    with pytest.raises(DataError, match="too few different times"):
        parts(pl.DataFrame({"year": [1.0] * 10}), by="time", column="year")


def test_no_group_crosses() -> None:
    frame = pl.DataFrame({"who": [f"p{index % 37}" for index in range(500)]})
    found = parts(frame, by="group", column="who", seed=1)
    crossed = frame.with_columns(found).group_by("who").agg(pl.col("split").n_unique())
    assert crossed["split"].max() == 1
    counts = dict(found.value_counts().rows())
    assert 60 <= counts["test"] <= 140 and 20 <= counts["validation"] <= 90


def test_few_groups_still_fill_every_part_and_too_few_are_an_error() -> None:
    frame = pl.DataFrame({"who": ["a"] * 80 + ["b"] * 10 + ["c"] * 10})
    for seed in range(6):
        assert parts(frame, by="group", column="who", seed=seed).n_unique() == 3
    with pytest.raises(DataError, match="has 2 groups, at least 3 are needed"):
        parts(frame.head(90), by="group", column="who")


def test_given_parts_are_taken_and_missing_ones_cut_from_training() -> None:
    notes: list[str] = []
    frame = pl.DataFrame({"part": ["Train"] * 80 + ["test"] * 20})
    found = parts(frame, {}, notes, by="given", column="part", validation=0.25)
    assert dict(found.value_counts().rows()) == {"train": 60, "validation": 20, "test": 20}
    assert set(found[80:]) == {"test"}
    assert notes == ["split: no validation part is given, 25% was cut from the training rows at random (seed 0)."]
    with pytest.raises(DataError, match='"part" holds tset, allowed are train, validation, test'):
        parts(pl.DataFrame({"part": ["train", "tset", "test"]}), by="given", column="part")


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pl.DataFrame({"x": [1, 2]}), {}, "2 rows are too few to divide"),
        (pl.DataFrame({"x": range(100)}), {"validation": 0.5, "test": 0.5}, "leave no rows to train on"),
        (pl.DataFrame({"x": range(4)}), {"validation": 0.1, "test": 0.3}, "none is left for validation"),
        (pl.DataFrame({"x": range(9)}), {"by": "time"}, "Add `column: NAME`"),
        (pl.DataFrame({"day": range(9)}), {"by": "time", "column": "dya"}, 'no column "dya", found day. Did you mean "day"?'),
        (pl.DataFrame({"x": [str(i) for i in range(50)]}), {"stratify": "x"}, "another value in almost every row"),
    ],
)
def test_what_cannot_be_divided_is_told(frame: pl.DataFrame, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        parts(frame, **options)
    assert message in str(caught.value)


def test_random_strata_of_any_kind_keep_totals() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        frame = pl.DataFrame({"y": rng.integers(0, rng.integers(2, 9), rng.integers(60, 300)).astype(str)})
        found = parts(frame, {"y": "multiclass"}, validation=0.1, test=0.2, seed=int(rng.integers(99)))
        counts = dict(found.value_counts().rows())
        assert abs(counts["test"] - 0.2 * frame.height) <= 1 and abs(counts["validation"] - 0.1 * frame.height) <= 1


def test_by_order_the_first_rows_train_and_the_last_ones_test() -> None:
    found = parts(pl.DataFrame({"y": ["b", "a"] * 10}), {"y": "binary"}, by="order", validation=0.1, test=0.2)
    assert found.to_list() == ["train"] * 14 + ["validation"] * 2 + ["test"] * 4
    assert parts(pl.DataFrame({"x": range(10)}), by="order", validation=0, test=0.1).to_list() == ["train"] * 9 + ["test"]
    with pytest.raises(DataError, match=r"of 4 rows none is left for test \(by order\)"):
        parts(pl.DataFrame({"x": range(4)}), by="order", validation=0, test=0.1)


def test_one_document_may_stand_alone_where_nothing_is_held_out() -> None:
    assert parts(pl.DataFrame({"x": ["a"]}), by="order", validation=0, test=0).to_list() == ["train"]
    with pytest.raises(DataError, match="1 rows are too few to divide"):
        parts(pl.DataFrame({"x": ["a"]}), by="order")
