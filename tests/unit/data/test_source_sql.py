"""The source `sql` on SQLite; servers are in tests/flows/test_databases.py."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.place import Place

NUM_ROWS = 10


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with shop.db."""
    execute(tmp_path, 'CREATE TABLE "or ders" (id INTEGER PRIMARY KEY, "Un it" TEXT, "select" REAL, twice INTEGER)')
    rows = ", ".join(f"({i}, 'u{i}', {i / 2}, {i // 2})" for i in range(NUM_ROWS))
    execute(tmp_path, f'INSERT INTO "or ders" VALUES {rows}')
    execute(tmp_path, "CREATE TABLE loose (x INTEGER, y)")
    execute(tmp_path, "INSERT INTO loose VALUES (1, 'a'), (2, 5), (NULL, NULL)")
    return tmp_path


def execute(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def make(folder: Path, **options: Any) -> Source:
    given = {"url": "sqlite:///shop.db", **options}
    made: Source = REGISTRIES["source"].create(Component("sql", given), Place(folder, landing=folder / "landing"))
    return made


def rows(folder: Path, **options: Any) -> pl.DataFrame:
    return make(folder, **options).scan().collect()


def test_names_are_quoted_and_columns_chosen(shop: Path) -> None:
    found = rows(shop, table="or ders", columns=["select", "Un it"], batch_rows=3)
    assert found.columns == ["select", "Un it"]
    assert found["Un it"].to_list() == [f"u{i}" for i in range(NUM_ROWS)]


@pytest.mark.parametrize("order_by", [None, "id"])
def test_a_query_takes_parameters_as_values(shop: Path, order_by: str | None) -> None:
    query = 'SELECT id, "Un it" AS unit FROM "or ders" WHERE unit = :unit OR id IN :ids ORDER BY id DESC -- the end'
    evil = 'u1\'; DROP TABLE "or ders"; --'
    found = rows(
        shop, query=f"{query};" if order_by is None else query, parameters={"unit": evil, "ids": [2, 3]}, order_by=order_by
    )
    assert found["id"].to_list() == ([3, 2] if order_by is None else [2, 3])
    assert rows(shop, table="or ders").height == NUM_ROWS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found neither of `table` and `query`, exactly one"),
        ({"table": "loose", "query": "SELECT 1"}, "found both of"),
        ({"table": "orders"}, 'no table "orders", there is loose, or ders. Did you mean "or ders"'),
        ({"table": "loose", "columns": ["xx"]}, 'columns names "xx", found x, y'),
        ({"table": "loose", "order_by": "z"}, 'order_by names "z", found x, y'),
        ({"table": "loose", "order_by": "x"}, "has empty cells. Name another column"),
        ({"table": "or ders", "order_by": "twice"}, "more than once"),
        ({"table": "or ders", "order_by": "twice", "batch_rows": 1}, 'holds "0" more than once'),
        ({"table": "or ders", "order_by": "select"}, "holds float, allowed: whole numbers"),
        ({"table": "loose", "parameters": {"a": 1}}, "`parameters` are for a `query`"),
        (
            {"query": "SELECT :unit", "parameters": {"unti": 1}},
            'asks for :unit, which `parameters` does not have. Did you mean "unti"',
        ),
        ({"query": "SELECT 1", "parameters": {"a": 1}}, 'parameter "a" is not in the query'),
        ({"query": "SELECT 1 AS a, 2 AS a"}, 'gives the column "a" 2 times'),
        ({"query": "DELETE FROM loose"}, "refuses the query .attempt to write a readonly database"),
        ({"query": "SELECT 1; DROP TABLE loose"}, "refuses the query"),
        ({"query": "SELEC 1"}, "refuses the query .near"),
        ({"query": "SELECT * FROM loose WHERE x > 100"}, "gives no rows"),
        ({"url": "sqlite:///nowhere.db", "table": "loose"}, "nowhere.db: no such file"),
        ({"url": "postgresql://ann:s3cret@h/db", "table": "t"}, "`url` holds a password"),
        ({"url": "postgresql://h/db?password=s3cret", "table": "t"}, 'says "password" after its ., allowed: host, port'),
        ({"url": "postgres://h/db", "table": "t"}, 'begins with "postgres", allowed: postgresql.*Did you mean "postgresql"'),
        ({"url": "postgresql://h", "table": "t"}, "names no database"),
        ({"url": "shop.db s3cret", "table": "t"}, "no address of a database"),
        ({"table": "loose", "version": "SELECT 1, 2"}, "`version` must give one row with one cell"),
        ({"table": "loose", "password_env": "LODE_TEST_NOT_SET"}, "LODE_TEST_NOT_SET, which is not set"),
    ],
)
def test_what_is_wrong_is_told(shop: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        rows(shop, **options)
    assert "s3cret" not in str(caught.value)
    assert rows(shop, table="loose").height == 3


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_text("id,name\n" * 200)
    with pytest.raises(DataError, match=r"the rows cannot be read .file is not a database"):
        rows(tmp_path, table="t")


def test_loose_types_become_text_with_a_note(shop: Path) -> None:
    made = make(shop, table="loose")
    assert made.scan().collect()["y"].to_list() == ["a", "5", None]
    assert list(made.notes) == ['sqlite:///shop.db loose: column "y" mixes kinds of cells and is read as text.']


def test_the_file_tells_whether_to_read_again(shop: Path) -> None:
    first = make(shop, table="loose").fingerprint()
    [pointer] = (shop / "landing").glob("*.json")
    before = pointer.stat().st_mtime_ns
    assert make(shop, table="loose").fingerprint() == first
    assert pointer.stat().st_mtime_ns == before, "nothing was read again"
    execute(shop, "INSERT INTO loose VALUES (4, 'b')")
    assert make(shop, table="loose").fingerprint() != first
    execute(shop, "DELETE FROM loose WHERE x = 4")
    assert make(shop, table="loose").fingerprint() == first
    execute(shop, "INSERT INTO loose VALUES (4, 'b')")
    assert make(shop, table="loose", refresh="never").fingerprint() == first


def test_texts_that_the_database_takes_for_equal_are_no_position(shop: Path) -> None:
    execute(shop, "CREATE TABLE words (word TEXT COLLATE NOCASE, n INTEGER)")
    execute(shop, "INSERT INTO words VALUES ('a', 1), ('b', 2)")
    assert rows(shop, table="words", order_by="word").height == 2
    execute(shop, "INSERT INTO words VALUES ('A', 3)")
    with pytest.raises(DataError, match="holds texts that the server takes for equal"):
        rows(shop, table="words", order_by="word")


def test_a_primary_key_is_the_position_by_itself(shop: Path) -> None:
    place = Place(shop, landing=shop / "landing")
    kind = REGISTRIES["source"].get("sql")
    made = kind(place, url="sqlite:///shop.db", table="or ders", batch_rows=4)
    batches = list(made._read(None))
    assert [batch.position for batch in batches] == [["int", "3"], ["int", "7"], ["int", "9"]]
    assert [batch.frame.height for batch in made._read(["int", "7"])] == [2]
