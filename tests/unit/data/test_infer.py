from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.infer import infer_input, infer_output


def word(cells: list[Any]) -> str | None:
    guess = infer_input(pl.Series("x", cells))
    return None if guess.component is None else guess.component.type


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2.5", "-3e4", None] * 10, "number"),
        (["0", "1"] * 10, "binary"),
        (["1", "2", None] * 10, "binary"),
        ([0, 1, 1] * 10, "binary"),
        ([True, False] * 10, "binary"),
        ([1.5, 2.5, 3.5] * 10, "number"),
        (["yes", "no"] * 10, "category"),
        (["red", "green", "blue", None] * 10, "category"),
        (["only", None] * 10, "category"),
        (["2024-01-01", "2024-02-01T10:00:00Z", None] * 10, "date"),
        (["25/12/2023", "03/04/2024"] * 10, "date"),
        ([datetime.date(2024, 1, day) for day in range(1, 20)], "date"),
        ([f"this is the {n}th review of a hotel" for n in range(60)], "text"),
        (
            [
                f"\u8ddd\u79bb\u5ddd\u6c99\u516c\u8def\u8f83\u8fd1\u4f46\u662f\u516c\u4ea4\u6307\u793a\u4e0d\u5bf9\u5982\u679c\u8ddd\u79bb\u8f83\u8fd1{n}"
                for n in range(60)
            ],
            "text",
        ),
        ([b"\x89PNG", b"\xff\xd8"] * 10, "image"),
        ([b"fLaC", b"RIFF....WAVE"] * 10, "audio"),
        ([b"PK..", b"%PDF"] * 10, None),
        (["same"] * 20, None),
        ([7.0] * 20, None),
        ([None] * 20, None),
        ([f"C{n:05d}" for n in range(60)], None),
        ([str(n) for n in range(100, 160)], None),
        (list(range(60, 0, -1)), None),
        ([f"w{n}" for n in range(55)] * 1 + ["w1"] * 20, None),
        ([[1, 2], [3]] * 5, "series"),
        ([[1.5, 2], [3, None]] * 5, "vector"),
        ([[[1, 2]], [[3, 4], [5, 6]]] * 5, "series"),
        ([["milk", "bread"], []] * 5, "set"),
        ([[{"a": 1}]] * 5, None),
        ([[], None] * 5, None),
    ],
)
def test_a_column_is_what_its_cells_are(cells: list[Any], expected: str | None) -> None:
    assert word(cells) == expected


def test_a_guess_says_why() -> None:
    assert infer_input(pl.Series("x", ["same"] * 20)).why == "has the same value in every row"
    assert infer_input(pl.Series("x", list(range(60)))).why == "counts the rows up by one, like a number of the row"
    assert infer_input(pl.Series("x", ["25/12/2023", "01/02/2024"])).component.options == {"slashes": "day/month/year"}  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["7", "8", "9", "abc"])])
def test_words_stored_as_codes_are_judged_alike(dtype: pl.DataType) -> None:
    column = pl.Series("x", ["7", "8", "9", None] * 20)
    assert infer_input(column.cast(dtype)) == infer_input(column)


def test_mostly_numbers_is_an_error_with_samples() -> None:
    with pytest.raises(DataError) as caught:
        infer_input(pl.Series("x", [str(n) for n in range(97)] + ["n/a?", "-", "five"]))
    assert "inputs.x: 97 cells are numbers, 3 are not" in str(caught.value)
    assert "'five'" in str(caught.value) and "Add `{type: types}` to data.clean, or name the column's type" in str(caught.value)


def test_half_numbers_are_words() -> None:
    assert word(["1", "2", "A", "B"] * 10) == "category"


def test_infinity_in_a_number_column_is_an_error() -> None:
    with pytest.raises(DataError, match="99 cells are numbers, 1 are not"):
        infer_input(pl.Series("x", [str(n) for n in range(99)] + ["inf"]))


def test_dates_that_can_be_read_both_ways_are_an_error() -> None:
    with pytest.raises(DataError, match="can be read in two ways"):
        infer_input(pl.Series("x", ["03/04/2024", "05/06/2024"] * 10))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["yes", "no", None], "binary"),
        ([0, 1, 1], "binary"),
        (["1.0", "2.0", "3.0"], "multiclass"),
        ([1, 2, 3], "multiclass"),
        (["a", "b", "c"], "multiclass"),
        ([1.5, 2.5, 3.0], "number"),
        ([str(n) for n in range(40)], "number"),
        ([True, False], "binary"),
    ],
)
def test_an_output_is_what_its_labels_are(cells: list[Any], expected: str) -> None:
    component = infer_output(pl.Series("y", cells)).component
    assert component is not None and component.type == expected


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a"] * 9, 'all 9 labels are "a", there is nothing to learn'),
        ([None, None], "every cell is empty"),
        ([f"w{n}" for n in range(50)], "50 different values that are no numbers"),
    ],
)
def test_an_output_without_sense_is_an_error(cells: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        infer_output(pl.Series("y", cells, dtype=pl.String))
    assert message in str(caught.value)
