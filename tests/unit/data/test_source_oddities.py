"""What real files hold that readers read differently, or not at all: each is read right, or refused with what to do."""

from __future__ import annotations

import codecs
import gzip
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openpyxl
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.formats import delimited, files, json_lines, workbook_size
from lode.data.place import Place

TABLE = "a,b\n1,Zürich €\n2,中文\n"


def make(folder: Path, word: str, **options: Any) -> Source:
    made: Source = REGISTRIES["source"].create(Component(word, options), Place(folder, landing=folder / "landing"))
    return made


def written(folder: Path, word: str, content: bytes, **options: Any) -> tuple[pl.DataFrame, Sequence[str]]:
    (folder / "x").write_bytes(content)
    source = make(folder, word, path="x", **options)
    return source.scan().collect(), source.notes


def fault(folder: Path, word: str, content: bytes, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        written(folder, word, content, **options)
    return str(caught.value)


# -- delimited text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\r1,2\r3,4\r", "line 1 is many lines in one. A bare carriage return (CR)"),
        (b"a,b\n1,2\r3,4\n", "line 2 has 3 columns, the first line has 2 columns. A bare carriage return (CR)"),
        (b"a,b\n1,2,\n3,4,\n", "line 2 has 3 columns, the first line has 2 columns. It ends with a separator"),
        (b"sep=;\na;b\n1;2\n", 'the first line is "sep=;", which tells Excel the separator. Delete it'),
        (TABLE.encode("utf-16"), "is written in UTF-16. Write `encoding: utf-16`"),
        (b"PK\x03\x04" + bytes(99), "is a workbook or a zip, no text. Name `type: excel`"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "is packed by gzip, no text. Let its name end in .gz"),
        (b"\n <!DOCTYPE html>\n<html>404</html>\n", "is a web page"),
        (b"SEP=;\na;b\n1;2\n", 'the first line is "SEP=;", which tells Excel the separator'),
        (b"PAR1\x15\x04", "is a Parquet file"),
    ],
    ids=["cr", "cr in a line", "separator at the end", "sep=", "utf-16", "zip", "gzip", "web page", "SEP=", "parquet"],
)
def test_what_is_no_plain_table_is_told_with_the_next_step(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in fault(tmp_path, "csv", content)


@pytest.mark.parametrize(
    "content",
    [
        b"PAR1,PAR2\n1,2\n",
        b"ARROW1,ARROW2\n1,2\n",
        b"PK,ID\n1,2\n",
        b"a,b\r\r\n1,2\r\r\n",
        b"<html_length,label\n1,2\n",
    ],
    ids=["parquet", "arrow", "zip", "cr cr lf", "html"],
)
def test_tables_that_begin_like_something_else_are_read(tmp_path: Path, content: bytes) -> None:
    frame, notes = written(tmp_path, "csv", content)
    assert frame.rows() == [("1", "2")] and notes == []


def test_web_pages_as_cells_are_read(tmp_path: Path) -> None:
    content = b"<html>x</html>,1\n<html>y</html>,0\n"
    assert written(tmp_path, "csv", content, header=False, columns=["page", "y"])[0].height == 2


def test_another_encoding_is_named_than_the_one_that_was_tried(tmp_path: Path) -> None:
    message = fault(tmp_path, "csv", b"a,b\n1,\x81\n", encoding="windows-1252")
    assert "`encoding: gb18030` or `encoding: latin-1`" in message
    assert "x: is not written in UTF-16." in fault(tmp_path, "csv", b"a,b\n1,2\n", encoding="utf-16")


def test_a_carriage_return_between_quotes_is_part_of_its_cell(tmp_path: Path) -> None:
    assert written(tmp_path, "csv", b'"a\rx",b\n"1\r",2\n')[0].columns == ["a\rx", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8", "utf-8-sig", "gb18030"])
def test_text_is_the_same_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    name = {"utf-16-le": "utf-16", "utf-8-sig": "utf-8"}.get(encoding, encoding)
    found, _ = written(tmp_path, "csv", TABLE.encode(encoding), encoding=name)
    assert found.rows() == [("1", "Zürich €"), ("2", "中文")]


def test_windows_writes_characters_that_latin_1_does_not_have(tmp_path: Path) -> None:
    content = "a,b\n1,5 €\n".encode("windows-1252")
    assert written(tmp_path, "csv", content, encoding="windows-1252")[0]["b"].to_list() == ["5 €"]
    [note] = written(tmp_path, "csv", content, encoding="latin-1")[1]
    assert "`encoding: windows-1252` reads them" in note
    assert written(tmp_path, "csv", "a,b\n1,ü\n".encode("latin-1"), encoding="latin-1")[1] == []


def test_half_of_a_character_in_utf_16_is_told_by_its_line(tmp_path: Path) -> None:
    content = "a,b\n1,x\n".encode("utf-16") + b"2\0,\0\x00\xd8\n\0"
    assert "line 3 is not utf-16" in fault(tmp_path, "csv", content, encoding="utf-16")


def test_a_byte_order_mark_of_a_joined_file_is_noted(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n" + codecs.BOM_UTF8 + b"3,4\n"
    frame, notes = written(tmp_path, "csv", content)
    assert frame["a"].to_list() == ["1", "\ufeff3"] and len(notes) == 1
    assert notes[0].startswith("x: line 3 begins with a byte order mark, as where files were joined")
    source = make(tmp_path, "csv", path="x")
    source.scan_as({}).collect()  # type: ignore[attr-defined]
    assert source.notes == notes


@pytest.mark.parametrize("size", range(1, 12))
def test_marks_are_found_wherever_chunks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    content = b"a,b\n1,2\n" + codecs.BOM_UTF8 + b'3,"4"\n'
    (tmp_path / "x").write_bytes(content)
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    counts = delimited.survey(pieces, delimited.Dialect(",", '"'), 2, "x")
    assert (counts.records, counts.marked) == (3, 3)
    monkeypatch.setattr(files, "CHUNK_BYTES", size)
    assert files.check_lines(tmp_path / "x", "x", "\n\ufeff", '"', "\\u") == {"\n\ufeff", '"'}


# -- JSON -------------------------------------------------------------------------------------------------------------


def lines(word: str, *records: str) -> bytes:
    return "".join(f"{record}\n" for record in records).encode() if word == "jsonl" else f"[{','.join(records)}]".encode()


@pytest.mark.parametrize("word", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("record", "key"),
    [
        ('{"a": 3, "a": 4}', "a"),
        ('{"a": 3, "a": "x"}', "a"),
        ('{"a": {"b": 1, "b": 2}}', "b"),
        ('{"a": [{"b": 1}, {"b": 2, "b": 3}]}', "b"),
        ('{"a": 1, "\\u0061": 2}', "a"),
    ],
)
def test_a_key_that_stands_twice_in_one_object_is_refused(tmp_path: Path, word: str, record: str, key: str) -> None:
    assert f'2 holds the key "{key}" twice in one object' in fault(tmp_path, word, lines(word, '{"a": null}', record))


@pytest.mark.parametrize("word", ["json", "jsonl"])
@pytest.mark.parametrize(
    "record",
    ['{"a": 3, "a": 4}', '{"a": 3, "a": null}', '{"a" : 3, "a": 4}', '{"a"\t:3,"a":4}', '{"a":3,"a"\r:4}', '{"a": 3, "a": {}}'],
)
@pytest.mark.parametrize("other", ['{"a": 1, "b": 2}', '{"b": 2}', '{"a": 1, "b": "x\\":{ :"}', '{"a": 1, "b": null}'])
def test_no_count_hides_a_key_that_stands_twice(tmp_path: Path, word: str, record: str, other: str) -> None:
    assert '2 holds the key "a" twice in one object' in fault(tmp_path, word, lines(word, other, record, other))


@pytest.mark.parametrize("word", ["json", "jsonl"])
@pytest.mark.parametrize("record", ['{"a": 1, "b": "x y"}', '{"b": "y"}', "{}", '{"a":1,"b":"x: y"}'])
def test_flat_records_need_no_second_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, record: str) -> None:
    monkeypatch.setattr(json_lines, "check_keys", lambda *_: pytest.fail("read once more"))
    assert written(tmp_path, word, lines(word, '{"a": 1, "b": "x"}', record))[0].height == 2


@pytest.mark.parametrize("word", ["json", "jsonl"])
def test_equal_keys_of_different_objects_are_fine(tmp_path: Path, word: str) -> None:
    content = lines(word, '{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', '{"a": {"a": 2}, "b": []}')
    assert written(tmp_path, word, content)[0].height == 2


def test_a_column_that_stands_twice_in_a_mapping_is_refused(tmp_path: Path) -> None:
    assert 'holds the key "a" twice' in fault(tmp_path, "json", b'{"a": [1], "a": [2]}')


@pytest.mark.parametrize("word", ["json", "jsonl"])
def test_whole_numbers_of_more_than_64_bits_are_text_and_of_more_than_128_refused(tmp_path: Path, word: str) -> None:
    found, _ = written(tmp_path, word, lines(word, '{"a": 18446744073709551615}', '{"a": 1}'))
    assert found["a"].to_list() == ["18446744073709551615", "1"]
    assert "1 holds 99999999999999999999..., a whole number of more than 128 bits" in fault(
        tmp_path, word, lines(word, f'{{"a": {"9" * 45}}}')
    )


@pytest.mark.parametrize("word", ["json", "jsonl"])
def test_a_byte_order_mark_at_the_start_is_none_of_the_text(tmp_path: Path, word: str) -> None:
    content = codecs.BOM_UTF8 + lines(word, '{"a": 1, "b": "x"}', '{"a": 2, "b": "y"}')
    found, _ = written(tmp_path, word, content)
    assert found.rows() == [(1, "x"), (2, "y")]
    lazy = make(tmp_path, word, path="x").scan()
    assert lazy.filter(pl.col("a") > 1).select("b").collect()["b"].to_list() == ["y"] and lazy.head(1).collect().height == 1


def test_a_byte_order_mark_between_lines_is_told(tmp_path: Path) -> None:
    content = b'{"a": 1}\n' + codecs.BOM_UTF8 + b'{"a": 2}\n'
    assert "line 2 begins with a byte order mark, as where files were joined" in fault(tmp_path, "jsonl", content)


# -- workbooks --------------------------------------------------------------------------------------------------------


def workbook(folder: Path, rows: Iterable[Sequence[Any]], errors: Sequence[str] = ()) -> str:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    for place in errors:
        book.active[place].data_type = "e"
    book.save(folder / "x.xlsx")
    return "x.xlsx"


@pytest.mark.parametrize(
    ("given", "cells", "said"),
    [
        ([time(13, 5, 1), time(0, 0), None], ["13:05:01", "00:00:00", None], "holds times of day, read as text"),
        ([time(8, 30, 0, 250_000), time(9, 0)], ["08:30:00.250", "09:00:00.000"], "holds times of day, read as text"),
        ([time(13, 5), datetime(2024, 1, 2, 3, 4)], ["13:05:00", "2024-01-02 03:04:00"], "mixes times of day with dates"),
        ([time(13, 5), "noon"], ["13:05:00", "noon"], "holds times of day among other cells, read as text"),
        ([timedelta(hours=27, minutes=3), None, timedelta(0)], [97_380, None, 0], "holds durations, read as seconds"),
    ],
)
def test_times_of_day_are_no_dates_of_1899(tmp_path: Path, given: list[Any], cells: list[Any], said: str) -> None:
    path = workbook(tmp_path, [("id", "t"), *enumerate(given)])
    source = make(tmp_path, "excel", path=path)
    assert source.scan().collect()["t"].to_list() == cells
    assert len(source.notes) == 1 and f'x.xlsx: column "t" {said}' in source.notes[0]


def test_the_day_0_of_a_formula_on_an_empty_cell_is_missing(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (("day", "x"), (0, 1), (date(2024, 1, 2), 2)):
        book.active.append(row)
    book.active["A2"].number_format = "yyyy-mm-dd"
    book.save(tmp_path / "x.xlsx")
    source = make(tmp_path, "excel", path="x.xlsx")
    assert source.scan().collect()["day"].to_list() == [None, datetime(2024, 1, 2)]
    assert "holds the day 0 in 1 cells" in source.notes[0]


def test_durations_beside_other_cells_are_told_by_their_column(tmp_path: Path) -> None:
    path = workbook(tmp_path, [("id", "t"), (1, timedelta(hours=1)), (2, "x")])
    with pytest.raises(DataError, match=r'column "t" mixes durations with other cells. Give all of its cells one format'):
        make(tmp_path, "excel", path=path).scan()


def test_errors_of_formulas_are_missing_cells(tmp_path: Path) -> None:
    words = ("#N/A", "#DIV/0!", "#REF!", "#NAME?", "#VALUE!", "#NUM!", "#NULL!")
    rows = [("id", "x", "y"), *((number, word, "a") for number, word in enumerate(words)), (7, 5, "b")]
    found = make(tmp_path, "excel", path=workbook(tmp_path, rows, [f"B{row}" for row in range(2, 9)])).scan().collect()
    assert found["x"].to_list() == [None] * 7 + [5] and found["id"].to_list() == list(range(8))


def test_a_hidden_first_sheet_is_noted_and_a_chart_is_no_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(("a",))
    book.active.append((1,))
    book.active.sheet_state = "hidden"
    book.create_sheet("Seen").append(("b",))
    book.create_chartsheet("Chart")
    book.save(tmp_path / "x.xlsx")
    source = make(tmp_path, "excel", path="x.xlsx")
    assert source.scan().collect()["a"].to_list() == [1] and "sheet 1 is hidden" in source.notes[0]
    with pytest.raises(DataError, match="no rows under its header"):
        make(tmp_path, "excel", path="x.xlsx", sheet="Chart").scan()


def test_a_lonely_cell_in_the_last_corner_is_told(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"], book.active["A2"] = "a", 1
    book.active["XFD1048576"] = 2
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match=r"1,048,576 rows and 16,384 columns, far apart. Delete the lonely cells"):
        make(tmp_path, "excel", path="x.xlsx").scan()


def test_corners_are_found_wherever_pieces_end() -> None:
    text = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="900000"><c s="3" r="XFD900000" t="n"><v>1</v></c><c r="A900001"/></row>'
    for size in (1, 2, 7, 100):
        extent = workbook_size.Extent("x")
        for start in range(0, len(text), size):
            extent.add("xl/worksheets/sheet1.xml", text[start : start + size])
        with pytest.raises(DataError, match="900,000 rows and 16,384 columns"):
            extent.check("Sheet")
    extent = workbook_size.Extent("x")
    extent.add("xl/sharedStrings.xml", text)
    extent.check("Sheet")


def test_far_cells_that_are_only_coloured_or_on_another_sheet_are_no_reason_to_refuse(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"], book.active["A2"] = "a", 1
    book.active["XFD1048576"].fill = openpyxl.styles.PatternFill("solid", fgColor="FFFF00")
    other = book.create_sheet("Other & more")
    other["A1"], other["XFD1048576"] = "b", 2
    book.save(tmp_path / "x.xlsx")
    assert make(tmp_path, "excel", path="x.xlsx").scan().collect().rows() == [(1,)]
    with pytest.raises(DataError, match='the sheet "Other & more" has 2 cells, which lie in 1,048,576 rows'):
        make(tmp_path, "excel", path="x.xlsx", sheet="Other & more").scan()


def test_dates_before_1900_stay_dates(tmp_path: Path) -> None:
    book = openpyxl.Workbook(iso_dates=True)
    assert book.active is not None
    days = [datetime(1850, 5, 1), datetime(1899, 12, 30, 8), datetime(1950, 5, 1)]
    for cell in ("day", *days):
        book.active.append((cell,))
    book.save(tmp_path / "x.xlsx")
    source = make(tmp_path, "excel", path="x.xlsx")
    assert source.scan().collect()["day"].to_list() == days and source.notes == []


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("01234", "777"), ["01234", "777"]),
        (("12345678901234567890", "1"), ["12345678901234567890", "1"]),
        (("nan", "1"), ["nan", "1"]),
        ((-0.1, 1e-9, 3), [-0.1, 1e-9, 3.0]),
    ],
)
def test_beside_errors_only_numbers_become_numbers(tmp_path: Path, cells: tuple[Any, ...], expected: list[Any]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for cell in ("a", *cells):
        book.active.append((cell, 1))
    book.active.append(("#NAME?", 1))
    book.save(tmp_path / "x.xlsx")
    assert make(tmp_path, "excel", path="x.xlsx").scan().collect()["a"].to_list() == [*expected, None]


# -- other files ------------------------------------------------------------------------------------------------------


def test_what_pandas_keeps_in_its_own_way_in_hdf5_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = "frame"
        group["axis0"], group["block0_values"] = np.arange(3), np.zeros((2, 3))
    with pytest.raises(DataError, match=r"/df was written by pandas.*`to_parquet`"):
        make(tmp_path, "hdf5", path="x", dataset="df").scan()


def test_decimals_that_no_reader_holds_are_told() -> None:
    files.check_types("x", pl.Schema({"a": pl.Decimal(38, 2)}))
    with pytest.raises(DataError, match='column "a" holds decimals of 60 digits, at most 38'):
        files.check_types("x", pl.Schema({"a": pl.Decimal(60, 0)}))


# -- SQLite -----------------------------------------------------------------------------------------------------------


def database(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "x.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def asked(folder: Path, **options: Any) -> pl.DataFrame:
    return make(folder, "sql", url="sqlite:///x.db", **options).scan().collect()


def test_a_query_cannot_make_a_file(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    with pytest.raises(DataError, match="not authorized"):
        asked(tmp_path, query=f"ATTACH DATABASE '{tmp_path}/evil.db' AS e")
    assert not (tmp_path / "evil.db").exists()


def test_names_in_other_letters_are_found(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE Orders (id INTEGER PRIMARY KEY)", "INSERT INTO Orders VALUES (1)")
    assert asked(tmp_path, table="orders").rows() == [(1,)]


def test_bytes_that_are_no_text_are_told_with_the_way_to_read_them(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (CAST(x'ff41' AS TEXT))")
    with pytest.raises(DataError, match=r"a text is not UTF-8 .*column 'a'.*CAST"):
        asked(tmp_path, table="t")


def test_large_cells_are_read_few_at_a_time_and_endless_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    database(tmp_path, *(f"INSERT INTO t VALUES ({number}, zeroblob(5000))" for number in range(200)))
    monkeypatch.setattr("lode.data.sources.sql._MAX_BATCH_BYTES", 50_000)
    source = make(tmp_path, "sql", url="sqlite:///x.db", table="t")
    assert source.scan().collect().height == 200
    parts = list((tmp_path / "landing").rglob("*.parquet"))
    assert 15 <= len(parts) <= 25, len(parts)
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 4_000)
    with pytest.raises(DataError, match=r"a cell holds .* MiB, at most .* are allowed. Leave it out"):
        asked(tmp_path, query="SELECT a FROM t")
