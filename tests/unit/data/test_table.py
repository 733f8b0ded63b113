"""Words as codes: every way there gives the same Enum, whatever their number."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW
from lode.data.table import Table, cleaned, coded, enumerated, renamed


@pytest.mark.parametrize("num_words", [1, 2, 253, 254, 255, 256, 257, 1000])
def test_any_number_of_words_survives_with_nulls(num_words: int) -> None:
    words = [f"w{index:04d}" for index in range(num_words)]
    texts = pl.Series("x", [*reversed(words), None, words[0]])
    enum = enumerated(texts)
    assert enum.dtype == pl.Enum(words) and enum.cast(pl.String).equals(texts, null_equal=True)
    column = texts.cast(pl.Categorical(pl.Categories.random("test", pl.UInt16)))
    assert cleaned(column, lambda cells: cells).equals(enum, null_equal=True)
    upper = cleaned(column, lambda cells: cells.str.to_uppercase().replace("W0000", None))
    assert upper.cast(pl.String).equals(texts.str.to_uppercase().replace("W0000", None), null_equal=True)
    assert renamed(enum, pl.Series(["same"] * num_words)).cast(pl.String).to_list() == ["same"] * num_words + [None, "same"]
    codes, found = coded(enum)
    assert found == words and codes.tolist()[-2:] == [num_words, 0]


def test_a_very_long_word_stays_a_string() -> None:
    assert enumerated(pl.Series("x", ["a", "b" * 1_001])).dtype == pl.String


def test_too_many_words_stay_strings() -> None:
    texts = pl.Series("x", [f"w{index}" for index in range(10_001)])
    assert enumerated(texts).dtype == pl.String
    assert cleaned(texts.cast(pl.Categorical(pl.Categories.random("test", pl.UInt16))), lambda cells: cells).equals(texts)


def test_words_are_parsed_once_each_and_rejected_cells_are_found() -> None:
    column = pl.Series("x", ["1", "five", None, "2", "five"], dtype=pl.Enum(["1", "2", "five"]))
    table = Table(pl.DataFrame(), np.arange(5, dtype=np.uint64), typed={"x": column})
    bad = table.type_as("x", REGISTRIES["feature"].create(Component("number")), as_words=False)
    assert table.column("x").to_list() == [1.0, None, None, 2.0, None] and bad.tolist() == [1, 4]


def test_dropped_rows_are_in_no_frame() -> None:
    table = Table(pl.DataFrame({"x": [1.0, 2.0, 3.0]}), np.array([4, 5, 9], dtype=np.uint64))
    table.keep[1] = False
    assert table.frame(["x"]).to_dict(as_series=False) == {ROW: [4, 9], "x": [1.0, 3.0]}
    assert table.lazy(["x"], np.array([False, True, True])).collect()[ROW].to_list() == [5, 9]
    replaced = table.replaced(table.frame(["x"]))
    assert replaced.rows.tolist() == [4, 9] and replaced.keep.all()
