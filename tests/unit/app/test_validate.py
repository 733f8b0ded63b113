from __future__ import annotations

from typing import Any

import pytest

from lode.app.contracts import MAX_PROBLEMS, RequestError
from lode.app.validate import Columns, parse_json
from lode.core.types import ColumnSchema, Problem
from lode.testing.protocol import Sample

COLUMNS = Columns(Sample.columns)
ROW: dict[str, Any] = {"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}


def problems(*rows: Any) -> tuple[Problem, ...]:
    with pytest.raises(RequestError) as caught:
        COLUMNS.from_rows(rows)
    assert caught.value.status == 422
    return caught.value.problems


def test_rows_become_columns_with_the_types_of_their_cells() -> None:
    cells = COLUMNS.from_rows([ROW, ROW | {"age": 1.5, "member": None}])
    assert cells.columns["age"] == [39, 1.5]
    assert cells.dtypes == ("Float64", "String", "String", "Boolean", "Binary")


def test_an_empty_column_has_the_type_of_its_kind() -> None:
    cells = COLUMNS.from_rows([dict.fromkeys(ROW)])
    assert cells.dtypes == ("Float64", "String", "String", "String", "Binary")


@pytest.mark.parametrize("deep", [200, 1000])
def test_a_list_that_is_nested_without_end_is_a_problem_of_its_row(deep: int) -> None:
    columns = Columns((ColumnSchema("a", "series", "list", "a list of numbers"),))
    rows = [{"a": [1.0, 2.0]}, *parse_json(b'{"rows": [{"a": ' + b"[" * deep + b"]" * deep + b"}]}")["rows"]]
    if deep == 200:
        assert columns.from_rows(rows).dtypes == ("String",)
        return
    with pytest.raises(RequestError) as caught:
        columns.from_rows(rows)
    assert [(problem.row, problem.found) for problem in caught.value.problems] == [(1, "lists in lists, hundreds deep")]


@pytest.mark.parametrize(
    ("found", "dtype", "kept"),
    [
        ([1, 2], "Int64", [1, 2]),
        ([1, 2.5], "Float64", [1.0, 2.5]),
        (["a", 2], "String", ["a", "2"]),
        ([True, "b"], "String", ["true", "b"]),
        ([True, None], "Boolean", [True, None]),
        ([2**63, 1], "String", ["9223372036854775808", "1"]),
    ],
)
def test_words_may_be_given_as_numbers(found: list[Any], dtype: str, kept: list[Any]) -> None:
    cells = COLUMNS.from_rows([ROW | {"job": cell} for cell in found])
    assert cells.dtypes[1] == dtype
    assert cells.columns["job"] == kept


def test_numbers_may_be_given_as_text() -> None:
    cells = COLUMNS.from_rows([ROW | {"age": "39"}, ROW])
    assert cells.dtypes[0] == "String"
    assert cells.columns["age"] == ["39", "39"]


@pytest.mark.parametrize("cell", [[1], {"a": 1}, True])
def test_a_cell_of_the_wrong_kind_is_named_with_row_and_column(cell: Any) -> None:
    found = problems(ROW, ROW | {"age": cell})
    assert [(problem.row, problem.column) for problem in found] == [(1, "age")]
    assert found[0].allowed == "a number, or null where it is not known"


def test_every_problem_is_in_one_answer_in_the_order_of_rows() -> None:
    found = problems({"age": [1], "jbo": "x", "born": None, "member": {}, "photo": None}, 7, ROW | {"photo": "%%", "x": 1})
    assert [(problem.row, problem.column) for problem in found] == [
        (0, "jbo"), (0, "job"), (0, "age"), (0, "member"), (1, None), (2, "x"), (2, "photo"),
    ]  # fmt: skip
    assert 'Did you mean "job"?' in found[0].found
    assert found[4].found == "the number 7"


def test_a_column_that_no_row_has_is_one_problem() -> None:
    rows = [{name: cell for name, cell in ROW.items() if name != "age"}] * 3
    assert [(problem.row, problem.column) for problem in problems(*rows)] == [(None, "age")]


def test_columns_that_the_model_does_without_are_taken_and_left_out() -> None:
    columns = Columns(Sample.columns, ignored=Sample.ignored)
    assert columns.from_rows([ROW | {"shoe": 44}, ROW]) == columns.from_rows([ROW, ROW])
    with pytest.raises(RequestError) as caught:
        columns.from_rows([ROW | {"shoe": [1], "sheo": 1}, {"shoe": 2}])
    found = caught.value.problems
    assert (found[0].row, found[0].column) == (0, "sheo") and {problem.row for problem in found[1:]} == {1}


def test_at_most_a_hundred_problems_are_listed_and_all_are_counted() -> None:
    with pytest.raises(RequestError) as caught:
        COLUMNS.from_rows([ROW | {"age": []}] * (MAX_PROBLEMS + 23))
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert caught.value.message.startswith("123 problems in the request, the first 100 are listed")


def test_a_picture_is_decoded_and_a_broken_one_is_a_problem() -> None:
    assert COLUMNS.from_rows([ROW | {"photo": "R0lG"}]).columns["photo"] == [b"GIF"]
    assert "not base64" in problems(ROW | {"photo": "not a picture!"})[0].found


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"a": NaN}', b"\xff", b'{"a": 1e999}', b"{" * 10_000])
def test_what_is_no_json_object_is_a_400(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert caught.value.message.startswith("body: ")


def test_one_answer_says_wrong_kinds_and_unreadable_cells() -> None:
    asked: list[set[str]] = []

    def unreadable(columns):
        asked.append(set(columns))
        return [Problem(0, "born", "no date", "a date")]

    columns = Columns(Sample.columns, unreadable)
    with pytest.raises(RequestError) as caught:
        columns.from_rows([ROW | {"age": [1, 2], "surplus": 1}])
    assert {problem.column for problem in caught.value.problems} == {"age", "surplus", "born"}
    assert asked == [set(ROW) - {"age"}], "a column of the wrong kind is not asked about again"
