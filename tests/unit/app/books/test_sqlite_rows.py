"""Many rows in few statements: every row is written, whatever their number."""

from __future__ import annotations

import sqlite3

import pytest

from lode.app.books.sqlite import SqliteSession

_SQL = "INSERT INTO counts (name, amount) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = counts.amount + excluded.amount"


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 63, 64, 65, 149])
def test_every_row_is_written_once(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE counts (name TEXT PRIMARY KEY, amount INTEGER)")
    SqliteSession(connection).run_many(_SQL, [(f"{number:03}", number) for number in range(count)])
    assert connection.execute("SELECT name, amount FROM counts ORDER BY name").fetchall() == [
        (f"{number:03}", number) for number in range(count)
    ]


def test_a_name_that_comes_twice_counts_twice() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE counts (name TEXT PRIMARY KEY, amount INTEGER)")
    SqliteSession(connection).run_many(_SQL, [("a", 1), ("b", 2), ("a", 3), ("a", 4)])
    assert dict(connection.execute("SELECT name, amount FROM counts").fetchall()) == {"a": 8, "b": 2}
