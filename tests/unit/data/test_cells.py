"""Cells to numbers and words: one meaning for every spelling, few rows or many."""

from __future__ import annotations

import math
import random

import numpy as np
import polars as pl
import pytest

from lode.data import cells


def test_a_number_and_its_text_are_one_word() -> None:
    spellings = [
        pl.Series("x", ["1"]),
        pl.Series("x", ["1.0"]),
        pl.Series("x", [1]),
        pl.Series("x", [1.0]),
        pl.Series("x", [" 1 "]),
    ]
    assert {cells.words(column)[0] for column in spellings} == {"1"}


def test_words_that_only_look_alike_stay_apart() -> None:
    assert cells.words(pl.Series("x", ["01", "1.10", "1.1", "-0.0", "v1.0"])).to_list() == [
        "01",
        "1.10",
        "1.1",
        "-0.0",
        "v1.0",
    ]


def test_booleans_have_one_spelling() -> None:
    assert cells.words(pl.Series("x", ["True", "TRUE", "true", "False"])).to_list() == ["true", "true", "true", "false"]
    assert cells.words(pl.Series("x", [True, False])).to_list() == ["true", "false"]


def test_nan_is_an_empty_cell_and_infinity_is_rejected() -> None:
    before = pl.Series("x", [1.0, math.nan, math.inf, None, -math.inf])
    after = cells.numbers(before)
    assert after.to_list() == [1.0, None, None, None, None]
    assert cells.rejected(before, after).tolist() == [2, 4]


@pytest.mark.parametrize("seed", range(5))
def test_few_and_many_words_are_read_alike(seed: int) -> None:
    rng = random.Random(seed)
    parts = ["1", "0", ".", "-", " ", "\u00a0", "\u3000", "a", "True", "false", "\n", "\u0660", ".0", "\x1c"]
    texts = ["".join(rng.choices(parts, k=rng.randrange(5))) for _ in range(600)]
    many = cells.words(pl.Series("x", texts)).to_list()
    few = [word for start in range(0, 600, 50) for word in cells.words(pl.Series("x", texts[start : start + 50])).to_list()]
    assert many == few
    floats = [rng.choice([1.0, 2.5, 1e20, 1e-7, -0.0, math.nan, None, 2.0**53, 1e16, 123456.789]) for _ in range(200)]
    assert cells.words(pl.Series("x", floats)).to_list() == [
        cells.words(pl.Series("x", [cell], dtype=pl.Float64))[0] for cell in floats
    ]


def test_codes_by_dictionary_equal_codes_in_bulk() -> None:
    coder = cells.WordCodes(["b", "a", "\u00e9", ""])
    column = pl.Series("x", ["a", "b", None, "c", "\u00e9", "A"] * 40)
    bulk = coder.codes(column)
    assert bulk[:6].tolist() == [2, 1, 0, 0, 3, 0]
    assert bulk.tolist() == [int(coder.codes(column.slice(row, 1))[0]) for row in range(len(column))]


def test_bytes_that_are_no_text_are_rejected() -> None:
    assert cells.words(pl.Series("x", [b"ok", b"\xff\xfe", None])).to_list() == ["ok", None, None]


@pytest.mark.parametrize("num_rows", [6, 600])
def test_words_kept_as_an_enum_give_what_strings_give(num_rows: int) -> None:
    texts = pl.Series("x", (["b", "a", None, "c", "b", "?"] * num_rows)[:num_rows])
    enum = texts.cast(pl.Enum(["?", "a", "b", "c", "never"]))
    assert cells.words(enum).dtype == enum.dtype
    assert cells.words(enum).cast(pl.String).equals(texts, null_equal=True)
    assert cells.ranked_words(enum, 1, 10) == cells.ranked_words(texts, 1, 10)
    codes = cells.WordCodes(["b", "c"])
    assert np.array_equal(codes.codes(enum), codes.codes(texts))
    assert codes.codes(enum).dtype == np.int32


def test_an_enum_with_another_spelling_is_spelt_anew() -> None:
    enum = pl.Series("x", ["1.0", "True", None]).cast(pl.Enum(["1.0", "True"]))
    assert cells.words(enum).to_list() == ["1", "true", None]


@pytest.mark.parametrize(("dtype", "code"), [(pl.UInt8, 255), (pl.UInt8, 256), (pl.UInt16, 65_535), (pl.UInt16, 65_536)])
def test_missing_codes_are_filled_without_wrapping_around(dtype: pl.DataType, code: int) -> None:
    codes = cells.filled(pl.Series([0, None, 7], dtype=dtype), code)
    assert codes.tolist() == [0, code, 7]


def test_finite_numbers_whose_sum_overflows_stay_numbers() -> None:
    column = pl.Series([1.7e308, 1.7e308, None])
    assert cells.numbers(column).to_list() == [1.7e308, 1.7e308, None]
    assert cells.numbers(pl.Series([1.0, float("inf"), float("nan")])).to_list() == [1.0, None, None]


@pytest.mark.parametrize("name", ["x", "rows", "value"])
def test_rows_of_each_value_are_the_same_however_words_are_kept(name: str) -> None:
    texts = pl.Series(name, ["b", None, "a", "b", "c", None, "b"])
    counts = {"a": 1, "b": 3, "c": 1}
    for dtype in (pl.String(), pl.Categorical(), pl.Enum(["unused", "c", "b", "a"])):
        found = cells.value_rows(texts.cast(dtype))
        assert dict(zip(found["value"].to_list(), found["rows"].to_list(), strict=True)) == counts, dtype
        assert found["value"].dtype == pl.String and cells.ranked_words(texts.cast(dtype), 1, 2) == ["b", "a"]
    assert cells.value_rows(pl.Series(name, [None], dtype=pl.Enum([]))).height == 0


def test_a_blank_text_is_an_empty_cell() -> None:
    before = pl.Series("x", ["1", "", "  ", None, "a"])
    assert cells.rejected(before, cells.numbers(before)).tolist() == [4]
    assert not len(cells.rejected(before, cells.words(before)))
    mixed = pl.Series("x", ["", 5, None, "a", " ", True, "\u3000"], dtype=pl.Object)
    assert cells.rejected(mixed, cells.numbers(mixed)).tolist() == [3, 5]
    assert not len(cells.rejected(mixed, cells.words(mixed)))
