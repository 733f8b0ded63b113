"""What people's CSV files are like: each fault with its message, each oddity with its cells."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.formats import delimited
from lode.data.place import Place


def source(folder: Path, content: bytes | str, name: str = "x.csv", **options: Any) -> Source:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    made: Source = REGISTRIES["source"].create(Component("csv", {"path": name, **options}), Place(folder))
    return made


def rows(folder: Path, content: bytes | str, name: str = "x.csv", **options: Any) -> list[tuple[Any, ...]]:
    return source(folder, content, name, **options).scan().collect().rows()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "x.csv: the file is empty"),
        ("\n\n", {}, "holds no text"),
        ("a,b\n", {}, "a header but no rows. If the first line holds data, write `header: false`"),
        ("a,b", {}, "a header but no rows"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 column, the first line has 2 columns"),
        ("a,b\n1,2\n3,4,5\n6\n", {}, "line 3 has 3 columns, the first line has 2 columns"),
        ("a,b\n1,2\n3", {}, "line 3 has 1 column"),
        ("a,b\n1,2\n\n\n3\n", {}, "line 5 has 1 column"),
        ('a,b\n"x\ny",2\n3\n', {}, "line 4 has 1 column"),
        ("a;b\n1;2\n", {"separator": ","}, "gives one column, but the lines hold a semicolon each. Write `separator: ';'`"),
        ("a\tb\n1\t2\n", {"separator": ","}, "the lines hold a tab each"),
        ("a,b,a\n1,2,3\n", {}, 'the header names "a" twice (columns 1 and 3)'),
        (b"a,b\n1,2\n3,\xff\xfe\n", {}, "line 3 is not utf-8. Name the encoding, for example `encoding: gb18030`"),
        (b"a,b\n1,2\n3,\xff\xff\n", {"encoding": "gb18030"}, "line 3 is not gb18030"),
        ('a,b\n1,"x\n2,y\n', {}, 'the quote that opens in line 2 never closes. Close it, or write `quote: ""`'),
        ('a,b\n1,x"c,d"\n2,3\n', {}, "stands inside a cell that it does not enclose"),
        ("1,2\n3,4\n", {"header": False, "columns": ["x"]}, "`columns` has 1 names, the file has 2 columns"),
        ("1,2\n3,4\n", {"columns": ["x", "y"]}, "Add `header: false`"),
        ("a,b\n1,2\n", {"separator": ";;"}, 'separator ";;", one ASCII character is allowed'),
        ("a,b\n1,2\n", {"replace": {"bb": {"1": "2"}}}, 'replace names the column "bb", found a, b. Did you mean "b"?'),
        ("a,b\n1,2\n", {"sha256": "00ff"}, "expected 00ff. Get the file again"),
    ],
)
def test_a_broken_file_is_told_by_line_and_next_step(
    tmp_path: Path, content: bytes | str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path, content, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a,b\n 1 ,\t2\n", {}, [("1", "2")]),
        ("a,b\n?, NA \nnull,\n", {}, [(None, None), (None, None)]),
        ("a,b\n-,x\n", {"null_values": ["-"]}, [(None, "x")]),
        ("a;b\n1;2\n", {}, [("1", "2")]),
        ("a|b\n1|2,5\n", {}, [("1", "2,5")]),
        ("a\tb\n1\t2\n", {"separator": "\t"}, [("1", "2")]),
        ("\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n", {}, [("1", "2"), ("3", "4")]),
        ("\n\na,b\n\n1,2\n\n", {}, [("1", "2")]),
        ('a,b\n"x\ny","q ""z"", r"\n', {}, [("x\ny", 'q "z", r')]),
        ('a,b\n1,"x\n2,y"z\n', {"quote": ""}, [("1", '"x'), ("2", 'y"z')]),
        ("1,2\n3,4\n", {"header": False, "columns": ["x", "y"]}, [("1", "2"), ("3", "4")]),
        ("a\n1\n\n2\n", {}, [("1",), ("2",)]),
        ("a,b\n1,<=50K.\n", {"replace": {"b": {"<=50K.": "<=50K"}}}, [("1", "<=50K")]),
        ("a,b\n1,Z\u00fcrich\n".encode("latin-1"), {"encoding": "latin-1"}, [("1", "Z\u00fcrich")]),
        ("a,b\n\n1,\u4f60\u597d\n".encode("gb18030"), {"encoding": "gb18030"}, [("1", "\u4f60\u597d")]),
    ],
)
def test_odd_files_give_the_cells_that_are_meant(
    tmp_path: Path, content: bytes | str, options: dict[str, Any], expected: list[Any]
) -> None:
    assert [row for row in rows(tmp_path, content, **options) if any(row) or len(expected) > 1] == expected


def test_what_was_guessed_or_skipped_is_noted(tmp_path: Path) -> None:
    made = source(tmp_path, "1;2\n\n3;4\n", header=False)
    assert made.scan().collect().columns == ["column_1", "column_2"]
    assert made.notes == [
        "x.csv: the separator was found to be a semicolon (`separator` not given).",
        "x.csv: no column names, they are column_1 to column_2. Give `columns` to name them.",
        "x.csv: skipped 1 blank line.",
    ]


def test_a_ten_megabyte_cell_is_read_whole(tmp_path: Path) -> None:
    cell = "x" * 10_000_000
    found = source(tmp_path, f"a,b\n1,{cell}\n2,y\n").scan().collect()
    assert found["b"].str.len_bytes().to_list() == [10_000_000, 1]


def test_gzip_is_read_and_a_cut_one_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 5_000)
    assert len(rows(tmp_path, packed, "x.csv.gz")) == 5_000
    with pytest.raises(DataError, match="cut short"):
        rows(tmp_path, packed[: len(packed) // 2], "y.csv.gz")
    with pytest.raises(DataError, match="not readable as gz"):
        rows(tmp_path, b"no gzip at all", "z.csv.gz")


def test_zstandard_is_read(tmp_path: Path) -> None:
    pl.LazyFrame({"a": [1, 2]}).sink_csv(tmp_path / "x.csv.zst", compression="zstd")
    made = REGISTRIES["source"].create(Component("csv", {"path": "x.csv.zst"}), Place(tmp_path))
    assert made.scan().collect().rows() == [("1",), ("2",)]


def test_lines_longer_than_a_chunk_and_odd_places_of_its_end_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'a,b\n"x, ""y""\n1",\u4f60\u597d\n\n3,"4\n\n"\n'
    expected = rows(tmp_path, text)
    for size in range(1, 12):
        monkeypatch.setattr("lode.data.formats.files.CHUNK_BYTES", size)
        assert rows(tmp_path, text) == expected
        with pytest.raises(DataError, match="line 8 has 3 columns"):
            rows(tmp_path, text + "7,8,9\n", "y.csv")


def test_text_without_quotes_is_read_in_pieces_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\na,b\n" + "".join(f"{row},w{row}\n" + "\n" * (row % 3) for row in range(40)) + "40,w40"
    expected = rows(tmp_path, text)
    assert expected == [(str(row), f"w{row}") for row in range(41)]
    for size in (7, 20, 100):
        monkeypatch.setattr("lode.data.sources.csv._BLOCK_BYTES", size)
        made = source(tmp_path, text)
        quick = made.scan_as({"a": pl.Float64()})
        assert quick.select(pl.len()).collect().item() > 41  # blank lines are rows until `check` has seen them
        assert quick.filter(pl.col("b") == "w40").select("a").collect().rows() == [(40.0,)]
        assert quick.head(1).collect().rows() == [(0.0, "w0")]
        assert made.scan().collect().rows() == expected


def test_a_byte_order_mark_in_the_middle_stays_where_a_piece_begins_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a,b\n1,x\n" + "\ufeff2,y\n" * 5
    whole = source(tmp_path, text).scan_as({}).collect()
    assert whole["a"].to_list() == ["1", *["\ufeff2"] * 5]
    for size in range(1, len(text)):
        monkeypatch.setattr("lode.data.sources.csv._BLOCK_BYTES", size)
        assert source(tmp_path, text).scan_as({}).collect().equals(whole)


@pytest.mark.parametrize("cell", ["-999", " -999 "])
def test_numbers_that_mean_missing_are_never_read_as_numbers(tmp_path: Path, cell: str) -> None:
    made = source(tmp_path, f"a,b\n1,x\n{cell},y\n", null_values=["", "NaN", "nan", "-999"])
    assert made.head(1).rows() == [("1", "x")]
    assert made.scan_as({"a": pl.Float64()}).collect().rows() == [("1", "x"), (None, "y")]


def test_words_that_mean_missing_behind_the_first_rows_are_read_on_request(tmp_path: Path) -> None:
    made = source(tmp_path, "a,b\n1,x\nNA,y\n")
    assert made.head(1).rows() == [("1", "x")]
    with pytest.raises(pl.exceptions.ComputeError):
        made.scan_as({"a": pl.Float64()}).collect()
    assert made.read_missing() and not made.read_missing()
    assert made.scan_as({"a": pl.Float64()}).collect().rows() == [(1.0, "x"), (None, "y")]


def test_numbers_with_a_hint_that_are_none_fail_when_collected(tmp_path: Path) -> None:
    made = source(tmp_path, "a,b\n1,x\nfive,y\n")
    with pytest.raises(pl.exceptions.ComputeError):
        made.scan_as({"a": pl.Float64()}).collect()


def test_separators_between_quotes_are_not_counted_wherever_the_bytes_are_cut() -> None:
    rng = random.Random(1)
    for _ in range(500):
        text = "".join(rng.choice('a,",\n"') for _ in range(rng.randint(1, 40))).encode()
        size = rng.randint(1, 7)
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        outside = b"".join(text.split(b'"')[::2])
        assert delimited.separators(chunks, delimited.Dialect(",", '"')) == outside.count(b",")


def test_separators_are_counted_beside_reading_and_once_where_last_cells_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    count = delimited.separators

    def counted(chunks: Iterable[bytes], dialect: delimited.Dialect) -> int:
        looks.append(dialect.separator)
        return count(chunks, dialect)

    monkeypatch.setattr(delimited, "separators", counted)
    full, holes = source(tmp_path, "a,b\n1,x\n2,y\n"), source(tmp_path, "a,b\n1,x\n2,\n", "holes.csv")
    for made in (full, holes):
        made.head(10)
        made.look_ahead()
    assert looks == [","], "a file whose last cells are all there needs no count"
    assert not holes.check(2)
    assert looks == [","]
    short = source(tmp_path, "a,b\n1,\n2\n", "short.csv")
    short.head(10)
    short.look_ahead()
    with pytest.raises(DataError, match="line 3 has 1 column"):
        short.check(2)
