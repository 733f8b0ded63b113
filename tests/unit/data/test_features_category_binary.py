from __future__ import annotations

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.features.binary import Binary
from lode.data.features.category import Category


def test_codes_go_by_frequency_then_by_word() -> None:
    feature = Category()
    codes = feature.fit_transform(pl.Series("x", ["c", "b", "a", "b", None]), None, None)
    assert codes.tolist() == [3, 1, 2, 1, 0]
    assert feature.spec.cardinality == 4 and feature.flat_spec.cardinalities == (4,)


def test_rare_and_surplus_values_are_unknown() -> None:
    column = pl.Series("x", ["a"] * 3 + ["b"] * 2 + ["c"])
    rare, few = Category(min_count=2), Category(max_values=1)
    assert rare.fit_transform(column, None, None).tolist() == [1, 1, 1, 2, 2, 0]
    assert few.fit_transform(column, None, None).tolist() == [1, 1, 1, 0, 0, 0]
    assert rare.unseen(pl.Series("x", ["c", "d", "a", None])) == 2


def test_a_category_trained_on_texts_knows_the_numbers_of_a_request() -> None:
    feature = Category()
    feature.fit(feature.parse(pl.Series("x", ["1", "2.0", "2"])))
    assert feature.transform(feature.parse(pl.Series("x", [2, 1, 3]))).tolist() == [1, 2, 0]
    assert feature.transform(feature.parse(pl.Series("x", [2.0, 1.0]))).tolist() == [1, 2]


def test_inverse_gives_words() -> None:
    feature = Category()
    codes = feature.fit_transform(pl.Series("x", ["b", "a", None, "b"]), None, None)
    assert feature.inverse(codes).to_list() == ["b", "a", None, "b"]


def test_binary_values_are_zero_and_one_and_the_unknown_lies_between() -> None:
    feature = Binary()
    array = feature.fit_transform(pl.Series("x", ["yes", "no", None]), None, None)
    assert array.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]
    later = pl.Series("x", ["maybe", "yes"])
    assert feature.transform(later).tolist() == [[0.5, 0.0], [1.0, 0.0]] and feature.unseen(later) == 1


def test_a_third_value_in_training_is_an_error_that_names_the_values() -> None:
    with pytest.raises(DataError, match=r'column "answer": 3 values \(maybe, no, yes\), a binary input has two\. Write `category`'):
        Binary().fit(pl.Series("answer", ["yes", "no", "maybe"]))


def test_a_binary_column_with_one_value_is_constant() -> None:
    assert Binary().fit_transform(pl.Series("x", ["a", "a"]), None, None).tolist() == [[0.0], [0.0]]
