"""Slices: groups that are served worse than the whole are found, small ones are not judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.types import ColumnSchema
from lode.pipeline.scoring import Truth
from lode.pipeline.slices import columns_of, slices


def schema(**words: str) -> list[ColumnSchema]:
    return [ColumnSchema(name, word, "string", "a word") for name, word in words.items()]


def sliced(column: pl.Series, right: np.ndarray, target: np.ndarray | None = None, word: str = "accuracy") -> list[dict[str, Any]]:
    """Groups of a model that answers rightly where `right` is true."""
    target = np.tile([0, 1], len(right))[: len(right)] if target is None else target
    prediction = np.where(right, target, 1 - target) * 0.8 + 0.1
    truth = Truth("y", "binary", np.arange(len(right)), target)
    return slices(column.to_frame(), [column.name], word, prediction, truth, resamples=300, seed=0)["groups"]


def test_a_group_whose_interval_lies_wholly_below_the_whole_is_flagged() -> None:
    right = np.r_[np.ones(200, bool), np.tile([True, False], 50)]
    good, bad = sliced(pl.Series("region", ["north"] * 200 + ["south"] * 100), right)
    assert (good["group"], good["worse"], good["rows"]) == ("north", False, 200)
    assert (bad["group"], bad["worse"], bad["value"]) == ("south", True, 0.5)
    assert bad["high"] < 250 / 300


def test_where_less_is_better_a_group_above_the_whole_is_flagged() -> None:
    right = np.r_[np.ones(200, bool), np.tile([True, False], 50)]
    groups = sliced(pl.Series("region", ["north"] * 200 + ["south"] * 100), right, word="brier")
    assert [group["worse"] for group in groups] == [False, True]


def test_groups_of_fewer_than_30_rows_are_shown_and_not_judged() -> None:
    _, small = sliced(pl.Series("region", ["north"] * 200 + ["south"] * 29), np.r_[np.ones(200, bool), np.zeros(29, bool)])
    assert small["value"] == 0.0
    assert (small["judged"], small["worse"], small["why"]) == (False, False, "fewer than 30 rows")


def test_a_group_of_one_class_has_no_ranking_and_is_not_judged() -> None:
    target = np.r_[np.tile([0, 1], 50), np.zeros(50, np.int64)]
    _, single = sliced(pl.Series("region", ["north"] * 100 + ["south"] * 50), np.ones(150, bool), target, "auc")
    assert (single["judged"], single["why"]) == (False, "undefined on these rows")


def test_missing_cells_are_a_group_of_their_own() -> None:
    groups = sliced(pl.Series("region", ["north"] * 60 + [None] * 40), np.ones(100, bool))
    assert [(group["group"], group["rows"]) for group in groups] == [("north", 60), (None, 40)]


def test_a_named_number_with_many_values_is_cut_into_quarters() -> None:
    groups = sliced(pl.Series("age", np.arange(200.0)), np.ones(200, bool))
    assert sorted(group["rows"] for group in groups) == [49, 50, 50, 51] or [group["rows"] for group in groups] == [50] * 4
    assert sum(group["rows"] for group in groups) == 200


def test_of_many_words_the_twenty_most_frequent_are_shown() -> None:
    words = [f"w{place % 40}" for place in range(400)] + ["often"] * 5
    groups = sliced(pl.Series("word", words), np.ones(405, bool))
    assert len(groups) == 20


def test_only_labelled_rows_are_counted() -> None:
    frame = pl.DataFrame({"region": ["a", "b", "a", "b"] * 25})
    rows = np.flatnonzero(np.arange(100) % 4 < 3)
    target = np.tile([0, 1, 0], 25)
    found = slices(frame, ["region"], "accuracy", target * 0.8 + 0.1, Truth("y", "binary", rows, target), resamples=100, seed=0)
    assert {group["group"]: group["rows"] for group in found["groups"]} == {"a": 50, "b": 25}


def test_without_a_wish_every_category_and_binary_input_with_few_values_is_sliced() -> None:
    many = [f"w{place}" for place in range(30)]
    frame = pl.DataFrame({"c": ["a", "b"] * 15, "b": [True, False] * 15, "n": [1.0, 2.0] * 15, "one": ["x"] * 30, "many": many})
    inputs = schema(c="category", b="binary", n="number", one="category", many="category")
    assert columns_of(frame, inputs, None) == ["c", "b"]
    assert columns_of(frame, inputs, ["n"]) == ["n"]
    assert columns_of(frame, inputs, []) == []


def test_an_unknown_slice_column_is_an_error_with_the_near_miss() -> None:
    with pytest.raises(DataError, match=r'evaluate\.slices: column "regoin" is not among the test rows\. Did you mean "region"\?'):
        columns_of(pl.DataFrame({"region": ["a"]}), [], ["regoin"])


@pytest.mark.parametrize("cells", [[b"\xff\x00", b"x"], [[1.0], [2.0]]])
def test_columns_of_files_and_lists_cannot_be_sliced_by(cells: list[Any]) -> None:
    with pytest.raises(DataError, match=r'evaluate\.slices: column "x" holds .*, words or numbers are needed'):
        columns_of(pl.DataFrame({"x": cells}), (), ["x"])
