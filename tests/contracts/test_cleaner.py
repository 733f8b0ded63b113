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
WRITTEN = pl.DataFrame(
    {
        ROW: pl.Series(range(4), dtype=pl.UInt64),
        "age": ["12%", "5 kg", "300 g", "\uff14"],
        "when": ["31/12/2024", "1/2/24", "1700000000", "soon"],
        "paid": ["oui", "\u5426", "no", None],
    }
)
GAPS = pl.DataFrame(
    {
        ROW: pl.Series(range(12), dtype=pl.UInt64),
        "age": [1.0, None, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, None, 6.0],
        "weight": [10.0, 20.0, None, 40.0, 50.0, 600.0, 11.0, None, 31.0, 41.0, 51.0, 61.0],
        "city": ["a", "b", None, "c", "c", "b", "a", "b", "a", None, "c", "b"],
        "paid": ["yes", "no", "yes", "no", None, "yes", "yes", "no", "yes", "no", "no", "no"],
    }
)
PROSE = pl.DataFrame(
    {
        ROW: pl.Series(range(6), dtype=pl.UInt64),
        "city": [
            "A good line of text.",
            "no",
            None,
            "again and again. " * 9,
            "lorem ipsum dolor sit amet.",
            "Some other words here.",
        ],
    }
)
MISSPELT = pl.DataFrame(
    {
        ROW: pl.Series(range(120), dtype=pl.UInt64),
        "city": ["hamburg", "munich", "dresden", "leipzig"] * 30,
        "zip": ["20095", "80331", "01067", "04109"] * 29 + ["20095", "80331", "0x067", None],
    }
).with_columns(city=pl.when(pl.col(ROW) == 5).then(pl.lit("munixh")).otherwise("city"))
PERSONAL = pl.DataFrame(
    {
        ROW: pl.Series(range(4), dtype=pl.UInt64),
        "age": [4111111111111111, 31, None, 7],
        "city": ["ann@example.org", "  e\u0301 ", None, "call +49 30 1234567"],
        "zip": ["4111 1111 1111 1111", "b", "[EMAIL]", None],
    }
)
NOISY = pl.DataFrame(
    {
        ROW: pl.Series(range(120), dtype=pl.UInt64),
        "age": [float(row % 2) for row in range(120)],
        "paid": ["yes" if (row % 2) ^ (row == 8) else "no" for row in range(120)],
    }
)
FOREIGN = pl.DataFrame(
    {
        ROW: pl.Series(range(3), dtype=pl.UInt64),
        "note": ["This is a plain English sentence.", "Das ist ein ganz gew\u00f6hnlicher deutscher Satz.", None],
    }
)
TYPES = {
    "age": "number",
    "weight": "number",
    "city": "category",
    "paid": "binary",
    "zip": "category",
    "when": "date",
    "note": "text",
}

CASES: list[tuple[str, dict[str, Any], pl.DataFrame]] = [
    ("duplicates", {}, TYPED),
    ("duplicates", {"columns": ["city"]}, TYPED),
    ("duplicates", {"columns": ["city"], "keep": "complete"}, TYPED),
    ("duplicates", {"near": "text", "columns": ["city"]}, TYPED),
    ("duplicates", {"near": "record", "columns": ["city", "paid"]}, TYPED),
    ("missing", {"numbers": "median"}, TYPED),
    ("missing", {"numbers": "mean", "categories": "word"}, TYPED),
    ("missing", {"numbers": "zero", "categories": "mode"}, TYPED.with_columns(pl.col("city").cast(pl.Enum(["a", "b", "c"])))),
    ("missing", {"drop": True}, TYPED),
    ("types", {}, RAW),
    ("types", {"columns": ["age"]}, RAW),
    ("types", {"percent": "number", "dates": "day_first"}, WRITTEN),
    ("missing", {"numbers": "mode", "columns": {"city": "mode"}, "indicator": True}, TYPED),
    ("missing", {"numbers": "constant", "constant": -1.0, "categories": "word", "word": "none"}, TYPED),
    ("missing", {"numbers": "nearest", "categories": "nearest", "neighbours": 2}, GAPS),
    ("missing", {"numbers": "model", "categories": "model"}, GAPS),
    ("missing", {"columns": {"weight": "interpolate"}, "along": "age"}, GAPS),
    ("missing", {"drop": True, "above": 0.3}, GAPS),
    ("outliers", {"limit": 1.0}, GAPS),
    ("outliers", {"method": "z", "action": "null", "limit": 1.0}, TYPED),
    ("outliers", {"method": "mad", "action": "drop", "limit": 1.0, "columns": ["weight"]}, GAPS),
    ("outliers", {"method": "isolation_forest", "action": "drop", "limit": 0.2}, GAPS),
    ("quality", {"columns": ["city"], "min_words": 2, "min_mean_word": None}, PROSE),
    ("quality", {"columns": ["city"], "rows": "training", "min_words": 0, "min_alphabetic": None, "banned": ["Lorem"]}, PROSE),
    ("rules", {"rules": ["2 <= age <= 5", 'city in ["a", "b"]', "city determines paid"], "action": "fix"}, GAPS),
    (
        "rules",
        {"rules": [{"rule": "age >= 3", "set": {"city": '"z"'}}, {"rule": "age != 4", "action": None}], "action": "fix"},
        GAPS,
    ),
    ("rules", {"rules": ["unique(age)", 'if city == "a" then weight < 25'], "action": "drop"}, GAPS),
    ("rules", {"discover": True, "action": "fix"}, MISSPELT),
    ("pii", {}, PERSONAL),
    ("pii", {"action": "cell", "kinds": ["email", "card"]}, PERSONAL),
    ("pii", {"action": "drop", "columns": ["city"]}, PERSONAL),
    ("text", {}, PERSONAL),
    ("text", {"html": True, "mojibake": True, "lower": True, "form": "NFKC"}, PERSONAL),
    ("labels", {"folds": 2}, NOISY),
    ("labels", {"folds": 2, "action": "fix"}, NOISY),
    ("language", {"keep": ["en"]}, FOREIGN),
]


@pytest.mark.parametrize(("word", "options", "frame"), CASES)
def test_a_cleaner_keeps_its_contract(word: str, options: dict[str, Any], frame: pl.DataFrame) -> None:
    check_cleaner(lambda: REGISTRIES["cleaner"].create(Component(word, options)), frame, TYPES)


def test_every_cleaner_is_tested() -> None:
    assert {word for word, _, _ in CASES} == set(REGISTRIES["cleaner"].names())
