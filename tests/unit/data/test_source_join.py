"""Source `join`: which rows come, in which order, and what is told of those that do not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.place import Place


def join(folder: Path, left: str | pl.DataFrame, right: str | pl.DataFrame, **options: Any) -> Source:
    """A join of two tables: CSV text, or a frame (typed columns)."""
    sides = {}
    for side, table in (("left", left), ("right", right)):
        if isinstance(table, str):
            (folder / f"{side}.csv").write_text(table)
        else:
            table.write_parquet(folder / f"{side}.parquet")
        word = "csv" if isinstance(table, str) else "parquet"
        sides[side] = Component(word, {"path": f"{side}.{word}"})
    return REGISTRIES["source"].create(
        Component("join", {**sides, **({"on": "k"} if not options.keys() & {"on", "left_on"} else {}), **options}), Place(folder)
    )


def fault(folder: Path, left: str | pl.DataFrame, right: str | pl.DataFrame, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        join(folder, left, right, **options).scan()
    return str(caught.value)


LEFT = "k,x\n3,a\n1,b\n2,c\n1,d\n,e\n"
RIGHT = "k,x,y\n1,p,1\n1,q,2\n3,r,3\n9,s,4\n,t,5\n"


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ("left", [("3", "a", "r", "3"), ("1", "b", "p", "1"), ("1", "b", "q", "2"), ("2", "c", None, None), ("1", "d", "p", "1"),
                  ("1", "d", "q", "2"), (None, "e", None, None)]),
        ("inner", [("3", "a", "r", "3"), ("1", "b", "p", "1"), ("1", "b", "q", "2"), ("1", "d", "p", "1"), ("1", "d", "q", "2")]),
        ("semi", [("3", "a"), ("1", "b"), ("1", "d")]),
        ("anti", [("2", "c"), (None, "e")]),
    ],
)  # fmt: skip
def test_rows_come_in_the_order_of_the_left_source(tmp_path: Path, how: str, rows: list[tuple[str | None, ...]]) -> None:
    source = join(tmp_path, LEFT, RIGHT, how=how)
    assert source.scan().collect(engine="streaming").rows() == rows
    assert f"give {len(rows):,} rows" in "\n".join(source.notes)


def test_a_full_join_keeps_all_rows_of_both_with_their_keys(tmp_path: Path) -> None:
    source = join(tmp_path, LEFT, RIGHT, how="full")
    rows = source.scan().collect().rows()
    assert rows[-2:] == [("9", None, "s", "4"), (None, None, "t", "5")]
    assert len(rows) == 9
    assert "give 9 rows" in "\n".join(source.notes)


def test_lost_rows_multiplied_rows_and_empty_keys_are_told(tmp_path: Path) -> None:
    source = join(tmp_path, LEFT, RIGHT, how="inner")
    source.scan()
    assert source.notes == [
        "join on k (inner): 5 left rows and 5 right rows give 5 rows.",
        "join on k: 1 left rows (1 keys: '2') have no partner and are lost.",
        "join on k: 1 left rows have an empty key, which matches nothing.",
        "join on k: 1 right rows (1 keys: '9') have no partner and are lost.",
        "join on k: 1 right rows have an empty key, which matches nothing.",
        "join on k: 1 keys stand more than once on the right ('1'), which makes 2 more rows; `expect: many_to_one` makes this an error.",
    ]


def test_the_counts_are_those_of_a_join_by_hand(tmp_path: Path) -> None:
    draw = random.Random(5)
    tables = [[(draw.choice([None, *range(30)]), index) for index in range(200)] for _ in range(2)]
    frames = [
        pl.DataFrame(rows, schema={"k": pl.Int64, name: pl.Int64}, orient="row") for rows, name in zip(tables, "ab", strict=True)
    ]
    expected = [(key, a, b) for key, a in tables[0] for other, b in tables[1] if key is not None and key == other]
    lone = [(key, a, None) for key, a in tables[0] if key is None or key not in {other for other, _ in tables[1]}]
    source = join(tmp_path, *frames, how="left")
    assert sorted(source.scan().collect().rows(), key=str) == sorted(expected + lone, key=str)
    assert f"give {len(expected) + len(lone):,} rows" in source.notes[0]


def test_keys_of_other_names_and_of_several_columns(tmp_path: Path) -> None:
    left, right = "shop,day,n\nA,1,5\nA,2,6\nB,1,7\n", "store,date,rain\nA,1,yes\nB,1,no\n"
    source = join(tmp_path, left, right, left_on=["shop", "day"], right_on=["store", "date"])
    assert source.scan().collect().rows() == [("A", "1", "5", "yes"), ("A", "2", "6", None), ("B", "1", "7", "no")]
    assert "1 left rows (1 keys: 'A' + '2') have no partner" in "\n".join(source.notes)


def test_text_against_numbers_is_an_error_that_shows_both_and_offers_both_ways(tmp_path: Path) -> None:
    left, right = "k,x\n007,a\n8,b\n", pl.DataFrame({"k": [7, 8], "y": [1, 2]})
    message = fault(tmp_path, left, right)
    assert 'the left column "k" holds text ("007"), the right column "k" holds numbers (7)' in message
    assert "key_type: number" in message
    as_numbers = join(tmp_path, left, right, key_type="number").scan().collect()
    assert as_numbers.rows() == [("007", "a", 1), ("8", "b", 2)]
    as_text = join(tmp_path, left, right, key_type="text").scan().collect()
    assert as_text.rows() == [("007", "a", None), ("8", "b", 2)]


def test_numbers_of_different_kinds_are_equal_where_they_are(tmp_path: Path) -> None:
    left = pl.DataFrame({"k": pl.Series([1, 2], dtype=pl.UInt64), "a": [1, 2]})
    right = pl.DataFrame({"k": pl.Series([2, -1], dtype=pl.Int8), "b": [3, 4]})
    assert join(tmp_path, left, right, how="inner").scan().collect().rows() == [(2, 2, 3)]
    floats = pl.DataFrame({"k": [2.0, 2.5], "b": [3, 4]})
    assert join(tmp_path, left, floats, how="inner").scan().collect().rows() == [(2, 2, 3)]
    assert join(tmp_path, "k,a\n2,x\n", floats, key_type="text", how="inner").scan().collect().rows() == [("2", "x", 3)]


@pytest.mark.parametrize(
    ("expect", "side"),
    [("one_to_one", "left"), ("one_to_many", "left"), ("many_to_one", "right"), ("many_to_many", None)],
)
def test_expect_fails_where_a_key_stands_too_often(tmp_path: Path, expect: str, side: str | None) -> None:
    if side is None:
        assert join(tmp_path, LEFT, RIGHT, expect=expect).scan().collect().height == 7
        return
    assert f"expect {expect}, but 1 keys stand more than once on the {side} ('1')" in fault(tmp_path, LEFT, RIGHT, expect=expect)


def test_no_row_left_is_an_error_that_shows_the_keys(tmp_path: Path) -> None:
    message = fault(tmp_path, "k,x\nA,1\n", "k,y\na,1\n", how="inner")
    assert "no row is left (inner). Keys on the left: 'A'; on the right: 'a'" in message


def test_wrong_columns_are_named_with_what_there_is(tmp_path: Path) -> None:
    assert 'the right source has no column "custmer", found customer, y. Did you mean "customer"?' in fault(
        tmp_path, "custmer,x\nA,1\n", "customer,y\nA,1\n", on="custmer"
    )
    assert "found 1 columns of the left source and 2 of the right" in _refused(tmp_path, left_on="k", right_on=["k", "y"])
    assert "found `on` beside left_on" in _refused(tmp_path, on="k", left_on="k")
    assert 'suffix "" makes the name x a second time' in fault(tmp_path, LEFT, RIGHT, suffix="")


def _refused(folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        join(folder, LEFT, RIGHT, **options)
    return str(caught.value)


def test_three_tables_are_a_join_of_a_join(tmp_path: Path) -> None:
    for name, text in (("a", "u,i,r\n1,7,5\n2,8,3\n"), ("u", "u,age\n1,30\n2,40\n"), ("i", "i,year\n7,1999\n8,2001\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    csv = {name: {"type": "csv", "path": f"{name}.csv"} for name in "aui"}
    inner = {"type": "join", "left": csv["a"], "right": csv["u"], "on": "u", "expect": "many_to_one"}
    source = REGISTRIES["source"].create(Component("join", {"left": inner, "right": csv["i"], "on": "i"}), Place(tmp_path))
    assert source.scan().collect().rows() == [("1", "7", "5", "30", "1999"), ("2", "8", "3", "40", "2001")]
    assert sum("give 2 rows" in note for note in source.notes) == 2


def test_a_changed_byte_on_either_side_changes_the_fingerprint(tmp_path: Path) -> None:
    first = join(tmp_path, LEFT, RIGHT).fingerprint()
    assert join(tmp_path, LEFT, RIGHT).fingerprint() == first
    assert join(tmp_path, LEFT, RIGHT.replace("9", "8")).fingerprint() != first
    assert join(tmp_path, LEFT.replace("c", "C"), RIGHT).fingerprint() != first


def test_the_account_holds_one_row_per_key_and_not_the_table(tmp_path: Path) -> None:
    rows = pl.DataFrame({"k": [index % 10 for index in range(100_000)], "a": range(100_000)})
    source = join(tmp_path, rows, pl.DataFrame({"k": range(10), "b": range(10)}), expect="many_to_one")
    assert source.scan().select(pl.len()).collect(engine="streaming").item() == 100_000
    assert "100,000 left rows and 10 right rows give 100,000 rows" in source.notes[0]
