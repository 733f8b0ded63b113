"""Every cleaner passes the suite of lode.testing. A new cleaner needs one line in CASES."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW
from lode.testing.cleaner import check_cleaner

TYPED = pl.DataFrame(
    {
        ROW: pl.Series(range(6), dtype=pl.UInt64),
        "age": [1.0, None, 3.0, 3.0, 3.0, 8.0],
        "city": ["a", "b", None, "c", "c", "b"],
        "paid": ["yes", "no", "yes", "no", "no", "yes"],
    }
)
RAW = pl.DataFrame(
    {
        ROW: pl.Series(range(4), dtype=pl.UInt64),
        "age": ["1,200", "(3)", "4", "five"],
        "city": ["a", "b", None, "c"],
        "paid": ["Yes", "n", "TRUE", None],
    }
)
TYPES = {"age": "number", "city": "category", "paid": "binary"}

CASES: list[tuple[str, dict[str, Any], pl.DataFrame]] = [
    ("duplicates", {}, TYPED),
    ("duplicates", {"columns": ["city"]}, TYPED),
    ("missing", {"numbers": "median"}, TYPED),
    ("missing", {"numbers": "mean", "categories": "word"}, TYPED),
    ("missing", {"numbers": "zero", "categories": "mode"}, TYPED.with_columns(pl.col("city").cast(pl.Enum(["a", "b", "c"])))),
    ("missing", {"drop": True}, TYPED),
    ("types", {}, RAW),
    ("types", {"columns": ["age"]}, RAW),
]


@pytest.mark.parametrize(("word", "options", "frame"), CASES)
def test_a_cleaner_keeps_its_contract(word: str, options: dict[str, Any], frame: pl.DataFrame) -> None:
    check_cleaner(lambda: REGISTRIES["cleaner"].create(Component(word, options)), frame, TYPES)


def test_every_cleaner_is_tested() -> None:
    assert {word for word, _, _ in CASES} == set(REGISTRIES["cleaner"].names())
