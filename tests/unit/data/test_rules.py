"""The language of rules, what rules mean on a table, and the cleaner that keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.changes import diff
from lode.data.contracts import ROW, Cleaner
from lode.data.mending.dependencies import Votes
from lode.data.mending.rule_language import MAX_CHARS, RuleError, parse
from lode.data.mending.rule_meaning import holds

FRAME = pl.DataFrame(
    {
        ROW: pl.Series(range(6), dtype=pl.UInt64),
        "age": [17.0, 50.0, None, 130.0, 30.0, 30.0],
        "zip": ["12345", "1234x", None, "00000", "12345", "12345"],
        "state": pl.Series(["NY", "CA", "TX", "Nyy", "NY", "CAA"], dtype=pl.Enum(["CA", "CAA", "NY", "Nyy", "TX"])),
        "id": ["a", "b", "c", "a", "d", "e"],
        "born": [
            datetime(2007, 1, 1),
            datetime(1974, 5, 2),
            None,
            datetime(1894, 1, 1),
            datetime(1994, 1, 1),
            datetime(1994, 1, 1),
        ],
        "beer-name": ["x"] * 6,
    }
)
TYPES = {"age": "number", "zip": "category", "state": "category", "id": "category", "born": "date", "beer-name": "category"}


def rules(*items: Any, **options: Any) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("rules", {"rules": list(items), **options}))
    return made


def changes(cleaner: Cleaner, frame: pl.DataFrame = FRAME, types: dict[str, str] = TYPES) -> list[tuple[Any, ...]]:
    """Row, column, before, after, why."""
    cleaner.fit(frame.lazy(), types)
    found = diff(frame, cleaner.apply(frame))
    why = cleaner.why(found)
    assert why is not None
    return found.with_columns(why.alias("why")).rows()


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("18 <= age <= 120", [0, 3]), ("age >= 18 and age <= 120", [0, 3]), ("not (age < 18 or age > 120)", [0, 3]),
        ('zip matches "^[0-9]{5}$"', [1]), ('state in ["NY", "CA", "TX"]', [3, 5]), ("zip not in [12345]", [0, 4, 5]),
        ('if age > 40 then state == "CA"', [3]), ('age > 40 -> state == "CA"', [3]), ("age is known", [2]), ("zip is not missing", [2]),
        ('born >= "1900-01-01"', [3]), ("year(born) > 1900", [3]), ('born - "1994-01-01" <= 0', [0]), ("age * 2 + 1 > 40", [0]),
        ('length(word(age)) == 2', [3]), ("number(zip) > 0", [3]), ('upper(state) == "NY"', [1, 2, 3, 5]),
        ('`beer-name` = "y"', [0, 1, 2, 3, 4, 5]),
        ("age != 17 and age % 10 == 0", [0]), ("-age <= -18", [0]), ('extract(zip, "([0-9]+)") != "1234"', [1]),
    ],
)  # fmt: skip
def test_what_a_rule_means(rule: str, broken: list[int]) -> None:
    mask = FRAME.select(~holds(parse(rule), FRAME.schema)).to_series()
    assert FRAME[ROW].filter(mask).to_list() == broken


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("age >", 'found "the end" at character 6, a column, a number or a text is expected'),
        ("age >= 18 age", 'found "age" at character 11'),
        ("agee > 3", 'no column "agee".*Did you mean "age"'),
        ("beer-name == 1", "Write `beer-name` in backticks"),
        ('age >= "x"', "compares a number with a text"),
        ("state < 3", "compares a text, a number or a date is expected"),
        ('zip matches "("', "cannot be read .unclosed group."),
        ('zip matches "(a{999}){999}"', "cannot be read"),
        ('born > "soon"', '"soon" is no date'),
        ("foo(age) > 1", 'the function "foo", allowed: abs'),
        ("round(age, 2) > 1", "round takes 1 arguments, found 2"),
        ("age > 3 or state", 'beside "or" stands a text'),
        ("age + zip > 3", "stands between a number and a text"),
        ("1 < 2", "it names no column"),
        ("age", "it is a number, a rule must be true or false"),
        ("age > 3; drop", 'found ";" at character 8'),
        ('__import__("os")', 'the function "__import__"'),
        ("(" * 60 + "age" + ")" * 60, "nested more than 40 deep"),
        ("age > 1 and " * 400 + "age > 1", f"at most {MAX_CHARS:,} are allowed"),
        ("not " * 300 + "age", "must be true or false|stands a number"),
    ],
)
def test_a_rule_that_means_nothing_is_told(rule: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        holds(parse(rule), FRAME.drop(ROW).schema)


def test_rows_are_dropped_with_the_rule_that_they_break() -> None:
    cleaner = rules({"rule": "18 <= age <= 120", "name": "adults"}, "unique(id)", action="drop")
    assert cleaner.scope == "source"
    assert changes(cleaner) == [(0, None, None, None, "adults"), (3, None, None, None, "adults")]
    assert changes(rules("unique(id)", action="drop")) == [(3, None, None, None, "unique(id)")]


def test_cells_are_emptied_where_the_rule_asks_for_something() -> None:
    cleaner = rules("18 <= age <= 120", 'if state == "CA" then zip matches "^[0-9]+$"', action=None)
    assert cleaner.scope == "cells"
    assert [line[:4] for line in changes(cleaner)] == [
        (0, "age", "17.0", None),
        (1, "zip", "1234x", None),
        (3, "age", "130.0", None),
    ]


def test_cells_are_mended_to_bounds_words_majorities_and_expressions() -> None:
    cleaner = rules(
        "18 <= age <= 120",
        'state in ["NY", "CA", "TX"]',
        "zip determines state",
        {"rule": 'zip matches "^[0-9]{5}$"', "name": "digits", "set": {"zip": 'replace(zip, "[^0-9]", "")', "age": 20}},
        'born >= "1900-01-01"',
        action="fix",
    )
    assert changes(cleaner) == [
        (0, "age", "17.0", "18.0", "18 <= age <= 120"),
        (1, "age", "50.0", "20.0", "digits"),
        (1, "zip", "1234x", "1234", "digits"),
        (3, "age", "130.0", "120.0", "18 <= age <= 120"),
        (3, "state", "Nyy", "NY", 'state in ["NY", "CA", "TX"]'),
        (3, "born", "1894-01-01 00:00:00.000000", "1900-01-01 00:00:00.000000", 'born >= "1900-01-01"'),
        (5, "state", "CAA", "NY", "zip determines state"),
    ]


def test_an_equality_is_mended_by_its_other_side() -> None:
    frame = pl.DataFrame({ROW: pl.Series([0, 1], dtype=pl.UInt64), "price": [2.0, 3.0], "count": [5.0, 5.0], "total": [10.0, 16.0]})
    cleaner = rules("total == price * count", action="fix")
    assert [line[:4] for line in changes(cleaner, frame, dict.fromkeys(["price", "count", "total"], "number"))] == [
        (1, "total", "16.0", "15.0")
    ]


def test_missing_cells_of_a_dependency_are_filled_and_ties_left_alone() -> None:
    frame = pl.DataFrame(
        {ROW: pl.Series(range(6), dtype=pl.UInt64), "zip": ["1", "1", "1", "2", "2", "3"], "city": ["a", "a", None, "b", "c", None]}
    )
    types = {"zip": "category", "city": "category"}
    assert changes(rules("zip determines city", action="fix"), frame, types) == [(2, "city", None, "a", "zip determines city")]
    assert changes(rules("zip determines city", action=None), frame, types) == []


def test_a_rule_of_fail_stops_with_all_rules_and_some_rows() -> None:
    with pytest.raises(DataError) as raised:
        changes(rules("18 <= age <= 120", "unique(id)", "zip determines state", "age is known"))
    lines = str(raised.value).splitlines()
    assert lines[0].startswith(
        "data.clean rules: rules[0] (18 <= age <= 120): 2 rows break it (row 0: age 17.0; row 3: age 130.0)."
    )
    assert lines[1].startswith("data.clean rules: rules[1] (unique(id)): 1 rows break it (row 3: id a).")
    assert lines[2].startswith("data.clean rules: rules[2] (zip determines state): 1 rows break it (row 5: zip 12345, state CAA).")
    assert len(lines) == 4
    assert changes(rules("age is missing or age > 0")) == []


def test_faults_of_all_rules_are_told_before_any_row_is_read() -> None:
    with pytest.raises(SpecError) as raised:
        rules(
            "18 < age",
            {"rule": "age >= 18", "action": "nul"},
            {"rle": "x"},
            "unique(id)",
            {"rule": "age > 1", "set": {"age": None}},
            action="fix",
        )
    lines = str(raised.value).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("cleaner rules:rules[0]: it cannot be mended by itself")
    assert 'Did you mean "null"?' in lines[1]
    assert 'Did you mean "rule"?' in lines[2]
    with pytest.raises(SpecError, match="Put them into two entries"):
        rules("age >= 3", {"rule": "unique(id)", "action": "drop"}, action="fix")
    with pytest.raises(SpecError, match="rules:rules: found none"):
        rules()
    with pytest.raises(SpecError, match="Write `action: fix`"):
        rules(discover=True)


def test_faults_against_the_columns_are_told_all_at_once() -> None:
    cleaner = rules("agee >= 3", "state >= 3", "zip determines ct", {"rule": "age > 3", "set": {"zip": "age"}}, action="fix")
    with pytest.raises(DataError) as raised:
        cleaner.fit(FRAME.lazy(), TYPES)
    assert [line.split(")")[0] for line in str(raised.value).splitlines()] == [
        "data.clean rules: rules[0] (agee >= 3", "data.clean rules: rules[1] (state >= 3",
        "data.clean rules: rules[2] (zip determines ct", "data.clean rules: rules[3] (age > 3",
    ]  # fmt: skip


def misspelt() -> pl.DataFrame:
    cities, zips = ["hamburg", "munich", "dresden", "leipzig"], ["20095", "80331", "01067", "04109"]
    frame = pl.DataFrame(
        {ROW: pl.Series(range(200), dtype=pl.UInt64), "city": cities * 50, "zip": zips * 50, "size": [1.0, 2.0, 3.0, 4.0] * 50}
    )
    return frame.with_columns(
        city=pl.when(pl.col(ROW) == 5).then(pl.lit("munixh")).when(pl.col(ROW) == 7).then(pl.lit("berlin")).otherwise("city"),
        zip=pl.when(pl.col(ROW) == 6).then(None).when(pl.col(ROW) == 8).then(pl.lit("2x095")).otherwise("zip"),
    )


def test_dependencies_are_found_and_misspellings_mended() -> None:
    cleaner = rules(discover=True, action="fix")
    found = changes(cleaner, misspelt(), {"city": "category", "zip": "category", "size": "number"})
    assert [line[:4] for line in found] == [
        (5, "city", "munixh", "munich"), (6, "zip", None, "01067"), (8, "zip", "2x095", "20095"),
    ]  # fmt: skip
    assert any(note.startswith("city is decided by") for note in cleaner.notes)
    request = pl.DataFrame({"city": ["hamburq"], "zip": ["20095"], "size": [1.0]})
    again = rules(discover=True, action="fix")
    again.restore(cleaner.state())
    assert again.apply(request)["city"].to_list() == ["hamburg"]


def test_nothing_is_found_where_columns_do_not_depend() -> None:
    frame = pl.DataFrame({"a": ["x", "y", "z"] * 40, "b": ["p", "q", "p", "q", "q"] * 24})
    assert Votes.of(frame.lazy(), ["a", "b"], 0).keys == {}


def test_a_key_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.data.cleaners.rules.MAX_GROUPS", 100)
    frame = pl.DataFrame({"id": [str(i) for i in range(1_000)], "x": ["a"] * 1_000})
    with pytest.raises(DataError, match="different keys, at most 100 are allowed"):
        rules("id determines x", action="fix").fit(frame.lazy(), {"id": "category", "x": "category"})
