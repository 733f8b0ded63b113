from __future__ import annotations

import ast
from decimal import Decimal
from typing import Any

import pytest

from lode.core.check import Finding, convert, dotted, shown
from lode.core.signature import OptionType, _option_type
from lode.core.types import ExactFloat


def kind(text: str) -> OptionType:
    return _option_type(ast.parse(text, mode="eval").body)


def fits(value: Any, text: str) -> Any:
    findings: list[Finding] = []
    made = convert(value, kind(text), ("a",), findings)
    assert findings == []
    return made


def refused(value: Any, text: str) -> list[str]:
    findings: list[Finding] = []
    convert(value, kind(text), ("a",), findings)
    assert findings
    return [f"{dotted(item.key)}: {item.text}" for item in findings]


@pytest.mark.parametrize(
    ("value", "text", "made"),
    [
        (3, "int", 3),
        (3, "float", 3.0),
        (ExactFloat("0.5"), "float", 0.5),
        ("x", "Literal['x', 'y']", "x"),
        (True, "bool", True),
        (None, "int | None", None),
        (3, "float | int", 3),
        ("auto", "int | Literal['auto']", "auto"),
        (2020, "ColumnName", "2020"),
        (ExactFloat("1.10"), "ColumnName", "1.10"),
        ((1, 2), "list[int]", [1, 2]),
        ({"patience": 3}, "dict[Literal['patience'], int]", {"patience": 3}),
        ({"a": [ExactFloat("0.5")]}, "Any", {"a": [0.5]}),
        (ExactFloat("0.1"), "str | float", 0.1),
    ],
)
def test_values_are_converted(value: Any, text: str, made: Any) -> None:
    found = fits(value, text)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ExactFloat("0.1"), "0.1"),
        (ExactFloat("2500.00"), "2500.00"),
        ("0.10", "0.10"),
        (7, "7"),
        (0.1, "0.1"),
        (Decimal("1E+3"), "1E+3"),
        (ExactFloat("0.1234567890123456789012345"), "0.1234567890123456789012345"),
    ],
)
def test_amounts_are_exact(value: Any, text: str) -> None:
    assert str(fits(value, "Decimal")) == text
    assert str(fits(value, "ColumnName | Decimal | None")) == text


def test_a_word_is_a_column_where_an_amount_may_be_one() -> None:
    assert fits("price", "Decimal | ColumnName") == "price"


@pytest.mark.parametrize(
    "value", ["x", "1_000", "", "NaN", "Infinity", True, [1], ExactFloat(".inf"), float("nan"), "1e9999", "\u0661"]
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    assert "an exact amount" in refused(value, "Decimal")[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "int"),
        (True, "float"),
        (1, "bool"),
        ("true", "bool"),
        (ExactFloat("3.0"), "int"),
        (ExactFloat(".nan"), "float"),
        (ExactFloat("1e400"), "Any"),
        (10**400, "float"),
        (3, "str"),
        ("", "FilePath"),
        ("a\0b", "FilePath"),
        ("", "ColumnName"),
        (True, "Literal[1, 2]"),
        ("x", "list[str]"),
        ([1], "dict[str, int]"),
        (None, "int"),
    ],
)
def test_wrong_types_are_refused(value: Any, text: str) -> None:
    assert f"allowed: {kind(text).text}" in refused(value, text)[0]


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ("Range(1)", [1, 9], [0, -1]),
        ("Range(0, 1)", [0, 1], [-1, 2]),
        ("Range(0, 3, open_low=True, open_high=True)", [1, 2], [0, 3]),
        ("Range(high=5)", [5, -100], [6]),
    ],
)
def test_ranges_hold(bounds: str, good: list[int], bad: list[int]) -> None:
    for name in ("int", "float", "Decimal", "Decimal | ColumnName"):
        for value in good:
            fits(value, f"Annotated[{name}, {bounds}]")
        for value in bad:
            refused(value, f"Annotated[{name}, {bounds}]")


def test_near_misses_of_literals_are_named() -> None:
    assert refused("adma", "Literal['adam', 'sgd']") == ['a: found "adma", allowed: adam, sgd. Did you mean "adam"?']
    assert 'Did you mean "auto"?' in refused("atuo", "int | Literal['auto']")[0]


def test_the_item_of_a_list_that_is_wrong_is_named() -> None:
    assert refused([1, "x", "y"], "list[int] | None") == [
        'a[1]: found "x", allowed: a whole number.',
        'a[2]: found "y", allowed: a whole number.',
    ]


def test_the_key_of_a_mapping_that_is_wrong_is_named() -> None:
    assert refused({"patienc": 3}, "dict[Literal['patience'], int] | None") == [
        'a.patienc: found "patienc", allowed: patience. Did you mean "patience"?'
    ]


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) < 70


def test_keys_are_dotted() -> None:
    assert dotted(("data", "clean", 1, "numbers")) == "data.clean[1].numbers"
