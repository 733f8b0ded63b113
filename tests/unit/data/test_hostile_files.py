"""What broken and malicious files do to the sources: a clear message, in bounded memory and time; nothing outside is read."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openpyxl
import polars as pl
import pytest
import soundfile

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.access import watch
from lode.data.contracts import Source
from lode.data.formats import archives, files, json_records
from lode.data.place import Place

TEXT_FILES = ("images", "text", "audio")
"""Sources of files in folders and archives."""
SUFFIX = {"images": "png", "text": "txt", "audio": "wav"}


def make(folder: Path, word: str, **options: Any) -> Source:
    made: Source = REGISTRIES["source"].create(Component(word, options), Place(folder))
    return made


def fails(folder: Path, word: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        make(folder, word, **options).scan().collect()
    return str(caught.value)


def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(80), 8_000, format="WAV")
    return buffer.getvalue()


GOOD = {"images": b"\x89PNG", "text": b"hello", "audio": sound()}


def tar(path: Path, entries: list[tuple[str, bytes]], mode: str = "w") -> bytes:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path.read_bytes()


# -- lines and columns ------------------------------------------------------------------------------------------------


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_without_end_is_told_before_it_fills_the_memory(tmp_path: Path, suffix: str) -> None:
    for word, before in (("csv", b"a,b\n1,2\n"), ("jsonl", b'{"a":1}\n{"a":2}\n')):
        text = before + b"x" * (3 << 20)
        (tmp_path / f"x{suffix}").write_bytes(gzip.compress(text) if suffix else text)
        assert "x" + suffix + ": line 3 is longer than 1 MiB" in fails(tmp_path, word, path=f"x{suffix}")


@pytest.mark.usefixtures("short_lines")
def test_a_first_line_without_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a" * (3 << 20))
    assert "line 1 is longer than 1 MiB" in fails(tmp_path, "csv", path="x.csv")
    with pytest.raises(DataError, match="line 1 is longer"):
        make(tmp_path, "csv", path="x.csv").head(5)


@pytest.mark.usefixtures("short_lines")
def test_the_first_rows_are_looked_for_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'a,b\n1,"' + b"x" * (3 << 20))
    with pytest.raises(DataError, match="a line is longer than 1 MiB, or a quote never closes"):
        make(tmp_path, "csv", path="x.csv").head(5)


@pytest.mark.usefixtures("short_lines")
def test_a_quote_that_never_closes_is_told_by_its_line(tmp_path: Path) -> None:
    lines = b"".join(b"%d,text\n" % number for number in range(300_000))
    for where, opened in ((b'3,"x\n', 4), (b'"3,x\n', 4)):
        (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n2,2\n" + where + lines)
        assert f"the quote that opens in line {opened} never closes" in fails(tmp_path, "csv", path="x.csv")


@pytest.mark.parametrize(("word", "text"), [("csv", b"a,b\n1,2\n3,\x004\n"), ("jsonl", b'{"a":1}\n{"a":2}\n{"a":"\x00"}\n')])
def test_nul_bytes_are_told_by_their_line(tmp_path: Path, word: str, text: bytes) -> None:
    (tmp_path / "x").write_bytes(text)
    assert "x: line 3 holds a NUL byte" in fails(tmp_path, word, path="x")


@pytest.mark.parametrize(("word", "text"), [("csv", "a,b\n1,2\n"), ("jsonl", '{"a":1}\n'), ("json", '[{"a":1}]')])
def test_text_in_utf_16_is_told(tmp_path: Path, word: str, text: str) -> None:
    (tmp_path / "x").write_bytes(text.encode("utf-16"))
    assert "UTF-8" in fails(tmp_path, word, path="x")


def test_a_hundred_thousand_columns_are_refused(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(100_000)]
    (tmp_path / "x.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    assert "found 100,000 columns, at most 32,768 are allowed" in fails(tmp_path, "csv", path="x.csv")
    (tmp_path / "x.jsonl").write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    assert "found 100,000 columns" in fails(tmp_path, "jsonl", path="x.jsonl")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["m"] = np.zeros((2, len(names)), dtype=np.int8)
    assert "found 100,000 columns" in fails(tmp_path, "hdf5", path="x.h5")


def test_wide_typed_files_and_tars_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_COLUMNS", 2)
    frame = pl.DataFrame({"a": [1], "b": [2], "c": [3]})
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_ipc(tmp_path / "x.arrow")
    frame.write_ipc_stream(tmp_path / "x.arrows")
    tar(tmp_path / "x.tar", [("1.a", b""), ("1.b", b""), ("2.c", b"")])
    (tmp_path / "x.json").write_text('[{"a":1,"b":{"c":2,"d":3}}]')
    assert "found 3 columns" in fails(tmp_path, "json", path="x.json")
    book = openpyxl.Workbook()
    book.active.append(["a", "b", "c"])
    book.save(tmp_path / "x.xlsx")
    for word, name in (
        ("parquet", "x.parquet"),
        ("arrow", "x.arrow"),
        ("arrow", "x.arrows"),
        ("tar", "x.tar"),
        ("excel", "x.xlsx"),
    ):
        assert "found 3 columns, at most 2 are allowed" in fails(tmp_path, word, path=name), name


def test_nesting_without_end_is_no_table(tmp_path: Path) -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    (tmp_path / "x.jsonl").write_text(f"{deep}\n")
    assert "line 1 is nested too deep" in fails(tmp_path, "jsonl", path="x.jsonl")
    (tmp_path / "x.json").write_text(f"[{deep}]")
    assert "nested more than 64 levels" in fails(tmp_path, "json", path="x.json")
    some = '{"a":' * 100 + "1" + "}" * 100
    (tmp_path / "y.jsonl").write_text(f"{some}\n")
    assert "nested more than 64 levels" in fails(tmp_path, "jsonl", path="y.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a":1}', "cut short, it ends with a bracket that never closes"),
        ('[{"a":"1}', "cut short, it ends with a string that never closes"),
        ('[{"a":1}]]', "more brackets are closed than opened"),
        ('[{"a":1}] 7', "more follows after the end"),
        ('[{"a":1}}', "brackets of different kinds"),
        ('[{"a":1},]', "record 2 is empty (a comma too many)"),
        ('[{"a":1},,{"a":2}]', "record 2 is empty (a comma too many)"),
        ('[{"a":1}{"a":2}]', "record 1 is no JSON (Extra data"),
        ('[{"a":1},3]', "record 2 holds a JSON int, an object is needed"),
        ('[{"a":1},{"a":NaN}]', "record 2 holds NaN, which JSON does not know; write null"),
        ("[]", "the list holds no records"),
        ('{"a":1}\n{"a":2}', "Write `type: jsonl` if each line holds one object"),
        ('"text"', "begins no JSON list or object"),
        ("   ", "holds no list of records"),
    ],
)
def test_broken_json_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert message in fails(tmp_path, "json", path="x.json")


def test_a_record_and_a_mapping_of_columns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(json_records, "MAX_MAPPING_BYTES", 1 << 20)
    monkeypatch.setattr(json_records, "BLOCK_BYTES", 1 << 18)
    (tmp_path / "x.json").write_text('[{"a":1},{"a":"' + "x" * (3 << 20) + '"}]')
    assert "one record is longer than 1 MiB" in fails(tmp_path, "json", path="x.json")
    (tmp_path / "y.json").write_text(json.dumps({"a": ["x" * 100] * (3 << 14)}))
    assert "a mapping of columns of more than 1 MiB" in fails(tmp_path, "json", path="y.json")


# -- compressed files and archives ------------------------------------------------------------------------------------


@pytest.fixture
def small_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FREE_BYTES", 1 << 20)


@pytest.mark.usefixtures("small_bombs")
def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    for word, text in (
        ("csv", b"a,b\n" + b"1,2\n" * (1 << 20)),
        ("jsonl", b'{"a":1}\n' * (1 << 20)),
        ("json", b"[" + b" " * (4 << 20)),
    ):
        (tmp_path / f"x.{word}.gz").write_bytes(gzip.compress(text))
        assert "unpacks to more than 1 MiB and 200 times its size" in fails(tmp_path, word, path=f"x.{word}.gz")
    tar(tmp_path / "x.tar.gz", [("1.txt", b" " * (4 << 20))], "w:gz")
    for word in ("tar", "text", "images"):
        assert "unpacks to more than" in fails(tmp_path, word, path="x.tar.gz")


@pytest.mark.usefixtures("small_bombs")
def test_a_workbook_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (4 << 20))
    assert "unpacks to more than 1 MiB and 200 times its size" in fails(tmp_path, "excel", path="x.xlsx")


@pytest.mark.parametrize("word", TEXT_FILES)
def test_bombs_in_a_zip_are_left_out_and_counted(tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_FILE_BYTES", 1 << 20)
    suffix = SUFFIX[word]
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"a/1.{suffix}", GOOD[word])
        archive.writestr(f"a/2.{suffix}", b" " * (4 << 20))
    source = make(tmp_path, word, path="x.zip")
    assert source.scan().collect()["path"].to_list() == [f"a/1.{suffix}"]
    assert any(
        f"1 files of more than 256 MiB, or 200 times their packed size, were skipped (a/2.{suffix})" in note
        for note in source.notes
    )


def test_a_zip_that_lies_about_a_size_is_damaged(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.txt", b" " * (4 << 20))
    lying = (tmp_path / "x.zip").read_bytes().replace(struct.pack("<I", 4 << 20), struct.pack("<I", 10))
    (tmp_path / "x.zip").write_bytes(lying)
    assert "a/1.txt is damaged" in fails(tmp_path, "text", path="x.zip")


@pytest.mark.parametrize("word", TEXT_FILES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_and_links_that_lead_elsewhere_are_left_out_and_counted(tmp_path: Path, word: str, kind: str) -> None:
    suffix, path = SUFFIX[word], tmp_path / f"x.{kind}"
    outside = [f"../evil.{suffix}", f"/abs.{suffix}", f"a/../../b.{suffix}"]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in (f"a/1.{suffix}", *outside):
                archive.writestr(name, GOOD[word])
            link = zipfile.ZipInfo(f"a/link.{suffix}")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
    else:
        with tarfile.open(path, "w") as tarred:
            for name in (f"a/1.{suffix}", *outside):
                info = tarfile.TarInfo(name)
                info.size = len(GOOD[word])
                tarred.addfile(info, io.BytesIO(GOOD[word]))
            info = tarfile.TarInfo(f"a/link.{suffix}")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tarred.addfile(info)
    source = make(tmp_path, word, path=path.name)
    assert source.scan().collect()["path"].to_list() == [f"a/1.{suffix}"]
    notes = " ".join(source.notes)
    assert f"1 links (they may lead anywhere) were skipped (a/link.{suffix})" in notes
    assert "3 files whose names lead out of the archive were skipped" in notes


@pytest.mark.parametrize("word", TEXT_FILES)
def test_links_and_loops_in_a_folder_are_not_followed(tmp_path: Path, word: str) -> None:
    suffix = SUFFIX[word]
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / f"s.{suffix}").write_bytes(GOOD[word])
    (tmp_path / "x" / "a" / f"1.{suffix}").write_bytes(GOOD[word])
    (tmp_path / "x" / "a" / "loop").symlink_to(tmp_path / "x", target_is_directory=True)
    (tmp_path / "x" / "out").symlink_to(tmp_path / "secret", target_is_directory=True)
    (tmp_path / "x" / "a" / f"2.{suffix}").symlink_to(tmp_path / "secret" / f"s.{suffix}")
    (tmp_path / "x" / "a" / f"3.{suffix}").symlink_to(f"3.{suffix}")
    os.mkfifo(tmp_path / "x" / "a" / f"4.{suffix}")
    source = make(tmp_path, word, path="x")
    assert source.scan().collect()["path"].to_list() == [f"a/1.{suffix}"]
    assert any("2 links" in note for note in source.notes)
    assert source.fingerprint() == make(tmp_path, word, path="x").fingerprint()


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "found a device or a pipe" in fails(tmp_path, "csv", path="pipe.csv")
    assert "found a device or a pipe" in fails(tmp_path, "csv", path="/dev/zero")
    assert "no such file or folder" in fails(tmp_path, "csv", path="loop.csv")
    assert "found a folder" in fails(tmp_path, "json", path=".")


@pytest.mark.parametrize("word", TEXT_FILES)
def test_an_encrypted_zip_is_told(tmp_path: Path, word: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"a/1.{SUFFIX[word]}", GOOD[word])
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[6] |= 1  # flag of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    (tmp_path / "x.zip").write_bytes(data)
    assert "found 1 encrypted files" in fails(tmp_path, word, path="x.zip")


def test_damage_in_a_zip_names_the_file(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(4_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", noise + b" " * 4_000)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[40:60] = b"\xff" * 20
    (tmp_path / "x.zip").write_bytes(data)
    assert "a/1.png is damaged" in fails(tmp_path, "images", path="x.zip")
    (tmp_path / "y.zip").write_bytes(data[:2_000])
    assert "not readable as zip" in fails(tmp_path, "text", path="y.zip")


def test_a_tar_that_is_cut_anywhere_is_told(tmp_path: Path) -> None:
    whole = tar(tmp_path / "x.tar", [(f"{number}.txt", b"hello") for number in range(3)])
    # Within a header, within a file, between two members, and before the blocks of zeros that end a tar.
    for num_bytes in (100, 514, 1_024, 1_500, 3_072):
        (tmp_path / "cut.tar").write_bytes(whole[:num_bytes])
        for word in ("tar", "text"):
            assert "not readable as tar" in fails(tmp_path, word, path="cut.tar"), num_bytes
    (tmp_path / "cut.tar").write_bytes(whole + whole)
    assert "more follows after the end of the archive" in fails(tmp_path, "tar", path="cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[:1_024] + b"garbage " * 64 + whole[1_536:])
    assert "not readable as tar (invalid header)" in fails(tmp_path, "tar", path="cut.tar")


def test_headers_of_a_tar_are_bounded(tmp_path: Path) -> None:
    giant = tarfile.TarInfo("a")
    giant.type, giant.size = tarfile.XHDTYPE, 1 << 32
    (tmp_path / "x.tar").write_bytes(giant.tobuf() + b"\0" * 2_048)
    assert "a name or an attribute of 4,294,967,296 bytes" in fails(tmp_path, "tar", path="x.tar")
    empty = tarfile.TarInfo("a")
    empty.type = tarfile.XHDTYPE
    (tmp_path / "x.tar").write_bytes(empty.tobuf() * 20_000 + b"\0" * 1_024)
    assert "not readable as tar" in fails(tmp_path, "tar", path="x.tar")
    claim = tarfile.TarInfo("a.txt")
    claim.size = 1 << 32
    (tmp_path / "x.tar").write_bytes(claim.tobuf() + b"\0" * 2_048)
    assert "not readable as tar" in fails(tmp_path, "tar", path="x.tar")


def test_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("a/1.txt", b"hello"), ("a/\udcff.txt", b"hello")])
    source = make(tmp_path, "text", path="x.tar")
    assert source.scan().collect()["path"].to_list() == ["a/1.txt"]
    assert any("1 files whose names are no text were skipped ('a/\\udcff.txt')" in note for note in source.notes)


def test_one_name_for_many_files_is_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.data.formats.samples.MAX_PARTS", 3)
    tar(tmp_path / "x.tar", [(f"a.{number}", b"") for number in range(5)])
    assert "more than 3 files share the name a" in fails(tmp_path, "tar", path="x.tar")
    tar(tmp_path / "y.tar", [("a.txt", b""), ("a.txt", b"")])
    assert "has two files .txt" in fails(tmp_path, "tar", path="y.tar")


# -- files that end too early, and files that change ------------------------------------------------------------------


def test_files_that_are_cut_short_are_told(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(5_000)})
    text = frame.write_csv().encode()
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(frame.write_ndjson().encode()))
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(frame.write_json().encode()))
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_ipc(tmp_path / "x.arrow")
    frame.write_ipc_stream(tmp_path / "x.arrows")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.arange(5_000)
    book = openpyxl.Workbook()
    for row in range(500):
        book.active.append([row])
    book.save(tmp_path / "x.xlsx")
    for name, word in (
        ("x.csv.gz", "csv"),
        ("x.jsonl.gz", "jsonl"),
        ("x.json.gz", "json"),
        ("x.parquet", "parquet"),
        ("x.arrow", "arrow"),
        ("x.arrows", "arrow"),
        ("x.h5", "hdf5"),
        ("x.xlsx", "excel"),
    ):
        assert make(tmp_path, word, path=name).scan().collect().height >= 499, name
        whole = (tmp_path / name).read_bytes()
        for num_bytes in (len(whole) // 2, len(whole) - 9):
            (tmp_path / name).write_bytes(whole[:num_bytes])
            assert re.search(r"cut short|not readable|truncated", fails(tmp_path, word, path=name)), name


def test_a_file_that_grew_shrank_or_was_replaced_is_another(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    before = watch.stamp(path)
    assert before is not None and watch.stamp(path) == before
    with path.open("a") as file:
        file.write("2\n")
    assert watch.stamp(path) != before
    path.write_text("a\n")
    assert watch.stamp(path) != before
    (tmp_path / "new").write_text("a\n1\n")
    os.utime(tmp_path / "new", ns=(before[1], before[1]))
    (tmp_path / "new").replace(path)
    assert watch.stamp(path) != before


def test_a_folder_with_one_more_file_is_another(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "1.txt").write_text("hello")
    before = watch.stamp(tmp_path / "x")
    assert before is not None and before[0] == 5 and watch.stamp(tmp_path / "x") == before
    (tmp_path / "x" / "a" / "2.txt").write_text("more")
    after = watch.stamp(tmp_path / "x")
    assert after is not None and (after[0], after[2]) == (9, 2) and after != before


def test_a_text_that_is_gone_before_it_is_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in ("1.txt", "2.txt"):
        (tmp_path / "x" / name).write_text("hello")
    rows = make(tmp_path, "text", path="x").scan()
    (tmp_path / "x" / "2.txt").unlink()
    with pytest.raises(DataError, match=r"2\.txt: not readable"):
        rows.collect(engine="streaming")


# -- typed formats ----------------------------------------------------------------------------------------------------


def test_hdf5_reads_nothing_outside_its_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(10)
    (tmp_path / "raw.bin").write_bytes(b"\0" * 40)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file["gone"] = h5py.SoftLink("/nowhere")
        file["loop"] = h5py.SoftLink("/loop")
        file.create_dataset("raw", shape=(10,), dtype="i4", external=[(str(tmp_path / "raw.bin"), 0, 40)])
        layout = h5py.VirtualLayout(shape=(10,), dtype="i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape=(10,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("bomb", shape=(1 << 40,), dtype="f8", chunks=(1 << 16,))
    for name, message in (
        ("link", "links link into another file"),
        ("link/deeper", "links link into another file"),
        ("gone", "a link that leads nowhere"),
        ("loop", "not readable as HDF5"),
        ("raw", "keeps its rows in other files"),
        ("virtual", "keeps its rows in other files"),
        ("bomb", "claims 8,796,093,022,208 bytes and stores 0"),
        ("nowhere", 'no "nowhere" (`dataset`)'),
    ):
        assert message in fails(tmp_path, "hdf5", path="x.h5", dataset=name), name


def test_damaged_arrow_streams_are_told(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(100)}).write_ipc_stream(tmp_path / "x.arrows")
    whole = (tmp_path / "x.arrows").read_bytes()
    length = struct.unpack("<i", whole[4:8])[0]
    for data, message in (
        (whole[:4] + struct.pack("<i", 1 << 30) + whole[8:], "cut short"),
        (whole[:4] + struct.pack("<i", -5) + whole[8:], "a message claims -5 bytes"),
        (whole[:8] + b"\xff" * length + whole[8 + length :], "header is no flatbuffer"),
        (whole[: 8 + length] + b"garbage!" + whole[16 + length :], "does not start with FF FF FF FF"),
        (b"FEA1" + whole, "Feather of version 1"),
        (b"hello world", "starts neither like an Arrow file nor like an Arrow stream"),
        (b"ARROW1\0\0" + b"x" * 100 + b"ARROW1", "not readable as Arrow"),
    ):
        (tmp_path / "y").write_bytes(data)
        assert message in fails(tmp_path, "arrow", path="y")


def test_an_encrypted_workbook_and_what_is_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + b"x" * 600)
    assert "the workbook is encrypted" in fails(tmp_path, "excel", path="x.xlsx")
    for name, data in (("x.xls", b"\xd0\xcf\x11\xe0" + b"x" * 600), ("y.xls", b"a,b\n1,2\n")):
        (tmp_path / name).write_bytes(data)
        assert "not readable as a workbook" in fails(tmp_path, "excel", path=name)


def test_idx_labels_are_held_against_their_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0\0\x08\x03" + np.array([1, 1, 1], dtype=">u4").tobytes() + b"\x07")
    (tmp_path / "y").write_bytes(b"\0\0\x08\x01" + np.array([1], dtype=">u4").tobytes() + b"\x07")
    good = files.sha256_of(tmp_path / "y")
    assert make(tmp_path, "images", path="x", labels="y", labels_sha256=good).scan().collect().height == 1
    assert "y: found sha256" in fails(tmp_path, "images", path="x", labels="y", labels_sha256="0" * 64)
