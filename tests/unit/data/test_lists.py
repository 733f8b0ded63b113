"""Cells that hold several values: how lists are read, and what series, vectors and sets make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.encoding.lists import gathered, laid_flat, number_lists, word_lists


def _feature(word: str, **options: Any) -> Any:
    return REGISTRIES["feature"].create(Component(word, options))


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("1 2.5 -3e2", [1.0, 2.5, -300.0]),
        ("[1, 2, null]", [1.0, 2.0, None]),
        ("1;2|3", [1.0, 2.0, 3.0]),
        (" ( 7 ) ", [7.0]),
        ("nan 4 NA", [None, 4.0, None]),
        ("1 x", None),
        ("nan", None),
        ("1 inf", None),
        ("", None),
    ],
)
def test_texts_are_read_as_lists_of_numbers(cell: str, found: list[float | None] | None) -> None:
    assert number_lists(pl.Series("x", [cell, "5"])).to_list() == [found, [5.0]]


def test_lists_of_steps_are_laid_flat_where_every_step_has_as_many_numbers() -> None:
    column = pl.Series("x", [[[1, 2], [3, 4]], [[5]], [[6, None]], None, []])
    assert number_lists(column, 2).to_list() == [[1.0, 2.0, 3.0, 4.0], None, [6.0, None], None, None]
    assert number_lists(pl.Series("x", [[1, 2, 3], [1, 2]]), 2).to_list() == [None, [1.0, 2.0]]


def test_words_are_split_by_the_separator_or_read_as_json() -> None:
    column = pl.Series("x", ["milk; whole bread ;", '["a, b", 1, null]', "[1, {}]", None, "2.0"])
    assert word_lists(column, ";").to_list() == [["milk", "whole bread"], ["a, b", "1"], None, None, ["2"]]
    assert word_lists(pl.Series("x", [["a", None, " b "], [], None]), ",").to_list() == [["a", "b"], [], None]


def test_lists_are_laid_flat_and_gathered_again() -> None:
    column = pl.Series("x", [[1.0, 2.0], [], [3.0]])
    assert gathered(*laid_flat(column)).to_list() == column.to_list()


def test_gaps_of_a_series_are_filled_on_a_line_and_its_end_is_padding() -> None:
    feature = _feature("series", scale="none")
    array = feature.fit_transform(feature.parse(pl.Series("x", ["nan 1 nan nan 4", "2", None])), None, None)
    assert array[0, :, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0]
    assert array[1, 0, 0] == 2.0 and np.isnan(array[1, 1:]).all() and np.isnan(array[2]).all()


def test_of_a_longer_series_the_last_steps_are_kept() -> None:
    feature = _feature("series", scale="none", length=2)
    assert feature.fit_transform(feature.parse(pl.Series("x", ["1 2 3"])), None, None)[0, :, 0].tolist() == [2.0, 3.0]


def test_a_row_scaled_by_itself_keeps_its_shape_only() -> None:
    feature = _feature("series", scale="row")
    array = feature.fit_transform(feature.parse(pl.Series("x", ["1 2 3", "100 200 300", "7 7 7"])), None, None)
    assert np.allclose(array[0], array[1]) and not array[2].any()


def test_figures_of_a_series_are_what_they_are_called() -> None:
    feature = _feature("series")
    column = feature.parse(pl.Series("x", ["0 1 2 3 4 5 6 7"]))
    feature.fit(column)
    found = dict(zip(feature.flat_spec.names, feature.flat(column)[0].tolist(), strict=True))
    assert found["mean"] == 3.5 and found["low"] == 0 and found["last"] == 7 and found["step"] == 1 and found["steps"] == 8
    assert [found[f"part{part}"] for part in range(1, 9)] == list(range(8))


def test_vectors_of_different_lengths_are_an_error_that_says_what_to_write() -> None:
    feature = _feature("vector")
    with pytest.raises(DataError, match=r"inputs.genes: .*2 of 3 numbers, 1 of 2 numbers.*size: 3"):
        feature.fit(feature.parse(pl.Series("genes", ["1 2 3", "4 5 6", "7 8"])))
    assert _feature("vector", size=3).parse(pl.Series("genes", ["1 2 3", "7 8"])).null_count() == 1


def test_gaps_of_a_vector_become_the_mean_of_their_place() -> None:
    feature = _feature("vector", scale="none")
    array = feature.fit_transform(feature.parse(pl.Series("x", ["1 10", "3 nan", None])), None, None)
    assert array.tolist() == [[1.0, 10.0], [3.0, 10.0], [2.0, 10.0]]
    assert np.isnan(feature.flat(feature.parse(pl.Series("x", ["3 nan"])))[0, 1])


def test_a_set_is_the_same_in_whatever_order_it_comes() -> None:
    for options, cells in (({}, ["a,b,c,c", "c,a,b", "a,b"]), ({"of": "numbers", "width": 2}, ["1 2 3 4", "3 4 1 2", "1 2"])):
        feature = _feature("set", **options)
        array = feature.fit_transform(feature.parse(pl.Series("x", cells)), None, None)
        assert array[0].tobytes() == array[1].tobytes() != array[2].tobytes()
        assert not feature.spec.ordered


def test_unknown_words_of_a_set_are_one_code_and_baselines_leave_them_out() -> None:
    feature = _feature("set")
    feature.fit(feature.parse(pl.Series("x", ["a,b", "a"])))
    later = feature.parse(pl.Series("x", ["a,new,newer", "b"]))
    assert feature.transform(later).tolist() == [[2, 1], [3, 0]] and feature.unseen(later) == 1
    assert feature.flat(later).toarray().tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_lists_in_a_list_are_held_to_their_width_as_text_too() -> None:
    lists = [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0, 3.0], [4.0]], [[1.0], [2.0]]]
    texts = pl.Series("a", [str(cell) for cell in lists])
    for group in (1, 2):
        assert number_lists(texts, group).to_list() == number_lists(pl.Series("a", lists), group).to_list()
