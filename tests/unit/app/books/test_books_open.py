"""Where the books lie, and files that are not the books."""

from __future__ import annotations

import argparse
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lode.app.books import schema
from lode.app.books.open import open_books
from lode.cli.options import add_books, opened
from lode.core.errors import BooksError
from lode.testing.books import assert_whole, settled, written


def _books(path: Path, count: int = 3) -> Path:
    with open_books(path, path.parent) as store:
        written(store, *(settled(number) for number in range(count)))
    return path


def test_the_command_line_opens_the_books_in_runs_or_those_it_names(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_books(parser)
    with pytest.raises(
        BooksError, match=r"books\.sqlite"
    ):  # reading makes none: in a wrong folder nobody would seem to have used anything
        opened(parser.parse_args(["--runs", str(tmp_path / "runs")]))
    with opened(parser.parse_args(["--runs", str(tmp_path / "runs")]), make=True) as store:
        assert store.where == str(tmp_path / "runs" / "books.sqlite")
    with opened(parser.parse_args(["--books", str(tmp_path / "deep" / "b")]), make=True) as store:
        assert store.where == str(tmp_path / "deep" / "b")
    assert stat.S_IMODE((tmp_path / "deep" / "b").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("mysql://host/db", 'begins "mysql://", allowed: a path, or postgresql://'),
        ("postgresql://user:geheim@host/db", "found a password in the address"),
        ("postgresql://user@host/db?password=geheim", "found a password in the address"),
        ("postgresql://user@host", "found no database"),
    ],
)
def test_addresses_that_are_none_are_refused(location: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BooksError) as found:
        open_books(location, tmp_path)
    assert said in str(found.value) and "geheim" not in str(found.value) and found.value.retry_s is None


def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "contacts.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE contacts (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BooksError, match="another program's database"):
        open_books(path, tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("no database at all\n" * 200)
    with pytest.raises(BooksError, match=r"damaged, or not the books .*`lode restore`"):
        open_books(text, tmp_path)
    assert path.read_bytes() == before and not list(tmp_path.glob("*-wal"))


def test_books_of_a_newer_lode_are_refused(tmp_path: Path) -> None:
    path = _books(tmp_path / "b")
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    connection.close()
    with pytest.raises(BooksError, match="Upgrade lode"):
        open_books(path, tmp_path)


@pytest.mark.parametrize("damage", ["head", "cut", "header", "page"])
def test_damaged_books_are_refused_with_the_way_out(damage: str, tmp_path: Path) -> None:
    path = _books(tmp_path / "b", 400)
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:4096] = bytes(4096)
    elif damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "page":
        for start in range(8192, len(data), 4096):
            data[start : start + 64] = b"\xa5" * 64
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM journal WHERE sequence = 400")
        connection.close()
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(BooksError, match="lode restore") as found, open_books(path, tmp_path) as store:
        written(store, settled(401))
    assert found.value.retry_s is None


def test_books_of_an_older_lode_are_brought_up_to_date_and_keep_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _books(tmp_path / "b")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE added (amount AMOUNT NOT NULL)",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        with open_books(path, tmp_path) as store, store.view() as session:
            assert session.rows("SELECT count(*), (SELECT count(*) FROM added) FROM journal") == [(3, 0)]
    monkeypatch.undo()
    with pytest.raises(BooksError, match=f"books of version {schema.VERSION + 1}, this lode reads up to {schema.VERSION}"):
        open_books(path, tmp_path)


def test_a_change_of_the_tables_that_is_cut_short_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _books(tmp_path / "b")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE added (a TEXT)", "CREATE NONSENSE")))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(sqlite3.OperationalError):
        open_books(path, tmp_path)
    monkeypatch.undo()
    with open_books(path, tmp_path) as store, store.view() as session:
        assert not session.rows("SELECT name FROM sqlite_master WHERE name = 'added'")


def test_processes_that_start_at_once_make_the_tables_once(tmp_path: Path) -> None:
    def start(_: int) -> None:
        open_books(tmp_path / "b", tmp_path).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, range(12)))
    with open_books(tmp_path / "b", tmp_path) as store:
        assert_whole(store, 0)


def test_books_can_be_opened_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "b"
    command = [sys.executable, "-m", "lode.testing.books_writer", str(path), "a", "300"]
    with open_books(path, tmp_path), subprocess.Popen(command, stdout=subprocess.DEVNULL) as writer:
        opened_times = 0
        while writer.poll() is None:
            open_books(path, tmp_path).close()
            opened_times += 1
    assert writer.returncode == 0 and opened_times > 0
    with open_books(path, tmp_path) as store:
        assert_whole(store, 300)
