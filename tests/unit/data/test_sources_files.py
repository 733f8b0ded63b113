"""Rows of the sources that read one file or an archive: json, excel, arrow, hdf5, text, audio, tar. Faults: test_hostile_files.py."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from datetime import date, datetime
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
from lode.data.contracts import Source
from lode.data.formats import arrow_stream, files, json_records
from lode.data.place import Place


def make(folder: Path, word: str, **options: Any) -> Source:
    made: Source = REGISTRIES["source"].create(Component(word, options), Place(folder))
    return made


def rows(folder: Path, word: str, **options: Any) -> pl.DataFrame:
    return make(folder, word, **options).scan().collect(engine="streaming")


def fails(folder: Path, word: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        rows(folder, word, **options)
    return str(caught.value)


# -- json -------------------------------------------------------------------------------------------------------------

TRICKY = (
    '\n[ {"a":1,"b":{"c":"x,]}\\"","d":{"e":[1,2]}}},\r\n {"a":2.5,"b":null,"z":"\\\\"},'
    '{"a":null,"z":"\\\\\\"[","b":{"c":"Z\\u00fc, rich"}}\n ] '
)


@pytest.mark.parametrize(("chunk_bytes", "block_bytes"), [(1 << 18, 1 << 23), (1, 1), (2, 7), (5, 40), (64, 1)])
def test_records_are_the_same_however_the_bytes_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, block_bytes: int
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(json_records, "BLOCK_BYTES", block_bytes)
    (tmp_path / "x.json").write_text(TRICKY)
    found = rows(tmp_path, "json", path="x.json")
    assert found.columns == ["a", "b.c", "b.d.e", "z"]
    assert found.rows() == [(1.0, 'x,]}"', [1, 2], None), (2.5, None, None, "\\"), (None, "Z\u00fc, rich", None, '\\"[')]
    (tmp_path / "y.json").write_text('{"n":[{"q":0}],"data":{"k":"]","items":' + TRICKY + ',"items2":[]},"items":[1]}')
    assert rows(tmp_path, "json", path="y.json", records="data.items").equals(found)


def test_json_cells_of_several_types_are_text_in_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "BLOCK_BYTES", 10)
    records = [{"a": 1, "b": 1}, {"a": True, "b": 2.5}, {"a": "x"}, {"a": {"q": 1}}, {"a": [1, "y"]}, {"a": 2**70}]
    (tmp_path / "x.json").write_text(json.dumps(records))
    found = rows(tmp_path, "json", path="x.json")
    assert found.schema == {"a": pl.String, "b": pl.Float64}
    assert found["a"].to_list() == ["1", "true", "x", '{"q": 1}', '[1, "y"]', str(2**70)]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"tea \\ud83d"', "2 holds half of a character (\\ud83d without its other half)"),
        ('"\\ude00 tea"', "2 holds half of a character (\\ude00 without its other half)"),
        ("-1e999", "2 holds -1e999, which is larger than any number of 64 bits; write null"),
    ],
)
def test_cells_that_no_parser_reads_alike_are_told_by_their_record(tmp_path: Path, cell: str, message: str) -> None:
    """Of half a character one parser makes a NUL; of such a number one makes infinity, and one a message without a line."""
    (tmp_path / "x.jsonl").write_text(f'{{"a":1}}\n{{"a":{cell}}}\n')
    assert f"line {message}" in fails(tmp_path, "jsonl", path="x.jsonl")
    (tmp_path / "x.json").write_text(f'[{{"a":1}},{{"a":{cell}}}]')
    assert f"record {message}" in fails(tmp_path, "json", path="x.json")
    archive(tmp_path / "x.tar", {"1.json": f'{{"a":{cell}}}'.encode()})
    assert "1.json" + message.removeprefix("2") in fails(tmp_path, "tar", path="x.tar")


def test_whole_characters_in_json_are_read_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a":"\\ud83d\\ude00"}\n{"a":"\\\\ud83d"}\n')
    assert rows(tmp_path, "jsonl", path="x.jsonl")["a"].to_list() == ["\U0001f600", "\\ud83d"]


def test_a_mapping_of_columns_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": [1, None], "b": [{"c": "x"}, {"c": 2}]}))
    assert rows(tmp_path, "json", path="x.json").to_dict(as_series=False) == {"a": [1, None], "b.c": ["x", "2"]}
    # What pandas writes by default.
    (tmp_path / "y.json").write_text(json.dumps({"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": None}}))
    assert rows(tmp_path, "json", path="y.json").rows() == [(1, "x"), (2, None)]


def test_the_right_key_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"version": 1, "data": {"items": [{"a": 1}]}}))
    assert 'no key "data.itens" (`records`), found items. Did you mean "items"?' in fails(
        tmp_path, "json", path="x.json", records="data.itens"
    )
    assert "`records: version` names a single value" in fails(tmp_path, "json", path="x.json", records="version")
    (tmp_path / "y.json").write_text(json.dumps({"version": 1, "items": [{"a": 1}]}))
    assert "Name its list of records: `records: items`" in fails(tmp_path, "json", path="y.json")
    (tmp_path / "z.json").write_text(json.dumps([{"a.b": 1, "a": {"b": 2}}]))
    assert "give the same column" in fails(tmp_path, "json", path="z.json")


def test_json_lines_of_several_types_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a":true,"b":{"c":1}}\n\n{"a":3,"b":4}\n')
    assert rows(tmp_path, "jsonl", path="x.jsonl").rows() == [("true", '{"c": 1}'), ("3", "4")]


@pytest.mark.data
def test_json_documents_of_other_people(lode_data: Path) -> None:
    found = rows(lode_data, "json", path="qa/xquad.en.json.gz", records="data")
    assert found.height == 48 and "paragraphs" in found.columns
    assert rows(lode_data, "json", path="instruction/alpaca_en_demo.json.gz").height == 999
    assert "scenario.personal.customer_name" in rows(lode_data, "json", path="intent-dialogue/abcd/abcd_sample.json.gz").columns
    assert "`type: jsonl`" in fails(lode_data, "json", path="instruction/zh_belle_seed_tasks.json.gz")
    assert rows(lode_data, "jsonl", path="instruction/zh_belle_seed_tasks.json.gz").height == 175


# -- excel ------------------------------------------------------------------------------------------------------------


def workbook(folder: Path, *lines: tuple[Any, ...], sheet: str = "Main") -> str:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = sheet
    for line in lines:
        book.active.append(line)
    book.create_sheet("Notes").append(["nothing here"])
    book.save(folder / "x.xlsx")
    return "x.xlsx"


def test_a_sheet_keeps_its_types(tmp_path: Path) -> None:
    path = workbook(
        tmp_path,
        ("id", "price", "day", "paid", "code"),
        (1, 2.5, date(2024, 1, 2), True, 7),
        (2, None, datetime(2024, 1, 3, 4, 5), False, "A7"),
    )
    found = rows(tmp_path, "excel", path=path)
    assert found.schema == {"id": pl.Int64, "price": pl.Float64, "day": pl.Datetime("ms"), "paid": pl.Boolean, "code": pl.String}
    assert found.rows() == [(1, 2.5, datetime(2024, 1, 2), True, "7"), (2, None, datetime(2024, 1, 3, 4, 5), False, "A7")]


def test_titles_empty_rows_and_merged_cells(tmp_path: Path) -> None:
    path = workbook(
        tmp_path, ("Sales of 2024",), (), ("region", "item", None), ("north", "a", 1), (None, "b", 2), (), ("south", "c", 3)
    )
    source = make(tmp_path, "excel", path=path, header_row=3, fill_down=["region"])
    assert source.scan().collect().to_dict(as_series=False) == {
        "region": ["north", "north", "south"],
        "item": ["a", "b", "c"],
        "column_3": [1, 2, 3],
    }
    assert source.notes == ["x.xlsx: 1 empty row was left out."]
    assert 'fill_down names the column "regin"' in fails(tmp_path, "excel", path=path, header_row=3, fill_down=["regin"])


def test_a_word_far_down_a_column_of_numbers_is_not_lost(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("a",), *((number,) for number in range(2_000)), ("many",))
    assert rows(tmp_path, "excel", path=path)["a"].to_list()[-2:] == ["1999", "many"]


def test_sheets_are_named_or_counted(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("a", "b"), (1, 2), sheet="Data")
    assert rows(tmp_path, "excel", path=path, sheet="Data").rows() == rows(tmp_path, "excel", path=path, sheet=1).rows() == [(1, 2)]
    assert 'no sheet "Dat", found Data, Notes. Did you mean "Data"?' in fails(tmp_path, "excel", path=path, sheet="Dat")
    assert "sheet 3, the workbook has 2" in fails(tmp_path, "excel", path=path, sheet=3)
    assert "no rows under its header" in fails(tmp_path, "excel", path=path, sheet="Notes")
    named = rows(tmp_path, "excel", path=path, header=False, columns=["x", "y"])
    assert named.columns == ["x", "y"] and named.height == 2
    assert "`columns` has 1 names, the sheet has 2" in fails(tmp_path, "excel", path=path, header=False, columns=["x"])


def test_days_and_truths_in_a_header_are_names(tmp_path: Path) -> None:
    path = workbook(tmp_path, (2020, date(2024, 1, 31), True, None, "x"), (1, 2, 3, 4, 5))
    assert rows(tmp_path, "excel", path=path).columns == ["2020", "2024-01-31", "true", "column_4", "x"]


def test_a_name_that_stands_twice_in_the_header_is_told(tmp_path: Path) -> None:
    path = workbook(tmp_path, ("id", "id", "b"), (1, 2, 3))
    assert 'the header names "id" 2 times' in fails(tmp_path, "excel", path=path)
    path = workbook(tmp_path, ("id", "id_1", "b"), (1, 2, 3))
    assert rows(tmp_path, "excel", path=path).columns == ["id", "id_1", "b"]


# -- arrow and hdf5 ---------------------------------------------------------------------------------------------------


def test_arrow_files_and_streams_hold_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_stream, "PIECE_BYTES", 1_000)
    frame = pl.DataFrame({"a": range(5_000), "s": [f"x{number % 5}" for number in range(5_000)]})
    frame = frame.with_columns(day=pl.date(2024, 1, 1), none=pl.lit(None, pl.Float64), many=pl.concat_list("a", "a"))
    frame.write_ipc(tmp_path / "x.feather", compression="zstd")
    frame.lazy().sink_ipc(tmp_path / "y.arrow")
    pieces = [frame[start : start + 700] for start in range(0, 5_000, 700)]
    with (tmp_path / "x.arrows").open("wb") as file:
        pl.concat(pieces, rechunk=False).write_ipc_stream(file, compression="lz4")
    for name in ("x.feather", "y.arrow", "x.arrows"):
        assert rows(tmp_path, "arrow", path=name).equals(frame), name
    lazy = make(tmp_path, "arrow", path="x.arrows").scan()
    assert lazy.filter(pl.col("a") >= 4_990).select("s").collect(engine="streaming").height == 10
    assert lazy.select(pl.len()).collect().item() == 5_000
    frame.clear().write_ipc_stream(tmp_path / "x.arrows")
    assert "has columns but no rows" in fails(tmp_path, "arrow", path="x.arrows")


def test_hdf5_in_its_three_layouts(tmp_path: Path) -> None:
    color = h5py.enum_dtype({"RED": 0, "BLUE": 1}, basetype="i1")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("columns")
        group["number"] = np.arange(3, dtype=">i4")
        group["half"] = np.arange(3, dtype="f2")
        group["yes"] = np.array([True, False, True])
        group["word"] = ["a", "b", "Z\u00fcrich"]
        group["fixed"] = np.array([b"ab", b"c", b""])
        group.create_dataset("color", data=np.array([0, 1, 0], dtype=np.int8), dtype=color)
        group["picture"] = np.zeros((3, 2, 2))
        file["table"] = np.array([(1, 0.5, b"q", [1, 2])], dtype=[("i", "i8"), ("x", "f4"), ("s", "S3"), ("v", "i2", (2,))])
        file["matrix"] = np.arange(6).reshape(3, 2)
        file["matrix"].attrs["columns"] = ["p", "q"]
    source = make(tmp_path, "hdf5", path="x.h5", dataset="/columns")
    found = source.scan().collect()
    assert found.select("number", "half", "yes", "word", "fixed", "color").rows() == [
        (0, 0.0, True, "a", "ab", "RED"),
        (1, 1.0, False, "b", "c", "BLUE"),
        (2, 2.0, True, "Z\u00fcrich", "", "RED"),
    ]
    assert source.notes == ["x.h5: left out what is no column (/columns/picture)."]
    assert rows(tmp_path, "hdf5", path="x.h5", dataset="table").to_dicts() == [{"i": 1, "x": 0.5, "s": "q", "v.0": 1, "v.1": 2}]
    assert rows(tmp_path, "hdf5", path="x.h5", dataset="matrix").columns == ["p", "q"]
    assert rows(tmp_path, "hdf5", path="x.h5", dataset="matrix", columns=["a", "b"]).columns == ["a", "b"]
    assert "/ holds columns, matrix, table. Did you mean" in fails(tmp_path, "hdf5", path="x.h5", dataset="tabel")
    assert "holds no datasets of one axis" in fails(tmp_path, "hdf5", path="x.h5")


def test_hdf5_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(40_000.0).reshape(10_000, 4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("m", data=values, chunks=(700, 4), compression="gzip")
    source = make(tmp_path, "hdf5", path="x.h5", columns=["a", "b", "c", "d"])
    monkeypatch.setattr("lode.data.sources.hdf5._BATCH_BYTES", 1 << 15)
    assert np.array_equal(source.scan().collect().to_numpy(), values)
    assert np.array_equal(source.scan().select("c", "a").head(1_500).collect().to_numpy(), values[:1_500][:, [2, 0]])


# -- texts, sounds and samples ----------------------------------------------------------------------------------------


def test_texts_that_are_no_utf_8_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    for name, data in (
        ("1.txt", b"\xef\xbb\xbfhello"),
        ("2.txt", b"Z\xfcrich"),
        ("3.txt", b"a\0b"),
        ("4.md", b"# title"),
        ("5.TXT", b"five"),
    ):
        (tmp_path / "x" / "a" / name).write_bytes(data)
    source = make(tmp_path, "text", path="x")
    assert source.scan().collect().rows() == [("hello", "a", "a/1.txt"), ("five", "a", "a/5.TXT")]
    assert source.notes == [
        "x: 1 files that are no texts (.txt) were skipped.",
        "x: 2 of 4 texts are not UTF-8 and were left out (a/2.txt, a/3.txt). Save them as UTF-8 to keep them.",
    ]
    assert rows(tmp_path, "text", path="x", suffixes=[".md"])["text"].to_list() == ["# title"]
    assert "no texts (.rst) in it" in fails(tmp_path, "text", path="x", suffixes=[".rst"])


def test_labels_come_from_folders_or_from_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("train/spam/7_a.txt", "train/ham/8_b.txt", "test/ham/7_c.txt"):
            archive.writestr(name, "hello")
    assert rows(tmp_path, "text", path="x.zip", split="train")["label"].to_list() == ["ham", "spam"]
    assert rows(tmp_path, "text", path="x.zip", label_pattern=r"(\d)_", label="digit")["digit"].to_list() == ["7", "8", "7"]
    assert "finds no label in 3 names" in fails(tmp_path, "text", path="x.zip", label_pattern=r"^(\d)_")
    assert "is no regular expression" in fails(tmp_path, "text", path="x.zip", label_pattern="([")


def test_figures_of_a_sound(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    wave = np.stack([np.full(4_000, 0.5), np.full(4_000, -0.25)], axis=1)
    soundfile.write(tmp_path / "x" / "a" / "1.wav", wave, 8_000, subtype="FLOAT")
    soundfile.write(tmp_path / "x" / "a" / "2.flac", wave, 16_000)
    whole = (tmp_path / "x" / "a" / "2.flac").read_bytes()
    (tmp_path / "x" / "a" / "3.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "x" / "a" / "4.mp3").write_bytes(b"not a sound")
    (tmp_path / "x" / "a" / "5.txt").write_bytes(b"notes")
    source = make(tmp_path, "audio", path="x")
    found = source.scan().collect()
    assert found.select("path", "seconds", "sample_rate", "channels", "peak").rows() == [
        ("a/1.wav", 0.5, 8_000, 2, 0.5),
        ("a/2.flac", 0.25, 16_000, 2, 0.5),
    ]
    assert found["rms"].to_list() == pytest.approx([np.sqrt((0.25 + 0.0625) / 2)] * 2, abs=1e-4)
    assert found["audio"][1] == whole
    assert source.notes == [
        "x: 1 files that are no sounds were skipped.",
        "x: 2 of 4 sounds cannot be read and were left out (a/3.flac, a/4.mp3).",
    ]


@pytest.mark.parametrize(("num_bytes", "count"), [(200, 1), (0, 2)])
def test_a_wave_that_was_cut_is_no_shorter_sound(tmp_path: Path, num_bytes: int, count: int) -> None:
    """Decoders play what is there, whatever the head says; a head that says "more than I knew" is right."""
    (tmp_path / "x").mkdir()
    soundfile.write(tmp_path / "x" / "1.wav", np.zeros(4_000), 8_000)
    whole = (tmp_path / "x" / "1.wav").read_bytes()
    at = whole.index(b"data") + 4
    streamed = whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]
    (tmp_path / "x" / "2.wav").write_bytes(whole[:-num_bytes] if num_bytes else streamed)
    source = make(tmp_path, "audio", path="x")
    assert source.scan().collect()["seconds"].to_list() == [0.5] * count
    assert len(source.notes) == 2 - count and all(
        "1 of 2 sounds cannot be read and were left out (2.wav)" in note for note in source.notes
    )


@pytest.mark.data
def test_sounds_of_other_people(lode_data: Path) -> None:
    source = make(lode_data, "audio", path="audio/yesno_flac.zip", label_pattern=r"^(\d)_")
    found = source.scan().select(pl.exclude("audio")).collect()
    assert found.height == 60 and set(found["label"]) == {"0", "1"}
    assert found["sample_rate"].unique().to_list() == [8_000] and 350 < found["seconds"].sum() < 380


def archive(path: Path, entries: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as made:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))


def test_files_that_share_a_name_are_one_sample(tmp_path: Path) -> None:
    first = {
        "x/1.jpg": b"J1",
        "x/1.cls": b" 3\n",
        "x/1.json": b'{"age": 1, "at": {"lat": [1]}}',
        "x/2.jpg": b"J2",
        "x/2.cls": b"4",
        "x/2.json": b'{"age": 2.5}',
    }
    archive(tmp_path / "s-0.tar", first)
    archive(tmp_path / "s-1.tar.gz", {"3.txt": "Z\u00fcrich".encode(), "3.seg.png": b"P", "README": b"skip me"})
    source = make(tmp_path, "tar", path="s-*", shard="shard")
    assert make(tmp_path, "tar", path="s-*").scan().collect_schema().names() == [
        *("key", "jpg", "cls", "txt", "seg.png", "age", "at.lat"),
    ]
    found = source.scan().collect()
    assert found.drop("at.lat").rows() == [
        ("x/1", "s-0.tar", b"J1", 3, None, None, 1.0),
        ("x/2", "s-0.tar", b"J2", 4, None, None, 2.5),
        ("3", "s-1.tar.gz", None, None, "Z\u00fcrich", b"P", None),
    ]
    assert found.columns == ["key", "shard", "jpg", "cls", "txt", "seg.png", "age", "at.lat"]
    assert source.notes == ["s-*: 1 files that are no files of a sample were skipped."]
    assert make(tmp_path, "tar", path="s-0.tar").fingerprint() == files.sha256_of(tmp_path / "s-0.tar")
    assert rows(tmp_path, "tar", path="s-*", sha256=source.fingerprint()).height == 3
    assert "found sha256" in fails(tmp_path, "tar", path="s-*", sha256="0" * 64)
    assert "no file in" in fails(tmp_path, "tar", path="q-*.tar")


def test_faults_in_a_sample_are_told_by_its_name(tmp_path: Path) -> None:
    for entries, message in (
        ({"1.json": b"[1]"}, "x.tar: 1.json holds a JSON list"),
        ({"1.json": b'{"key": 1}'}, 'two columns would be called "key"'),
        ({"1.json": b'{"jpg": 1}', "1.jpg": b""}, 'two columns would be called "jpg"'),
        ({"1.txt": b"\xff"}, "x.tar: 1.txt: is not UTF-8"),
        ({"folder/README": b""}, "no samples in it"),
    ):
        archive(tmp_path / "x.tar", entries)
        assert message in fails(tmp_path, "tar", path="x.tar")
    archive(tmp_path / "x.tar", {"1.cls": b"cat", "2.cls": b"7 "})
    assert rows(tmp_path, "tar", path="x.tar")["cls"].to_list() == ["cat", "7"]


@pytest.mark.data
@pytest.mark.prove
def test_pictures_of_other_people_as_samples(lode_data: Path) -> None:
    source = make(lode_data, "tar", path="vision-classification/cifar10/cifar10_test_*.tar.xz")
    found = source.scan().select("key", pl.col("jpg").bin.size()).collect(engine="streaming")
    assert found.height == 10_000 and found["jpg"].null_count() == 0


def test_files_of_a_sample_that_lie_apart_are_told(tmp_path: Path) -> None:
    """All texts, then all labels: each sample would be two rows with half of its cells."""
    archive(tmp_path / "x.tar", {"1.txt": b"a", "2.txt": b"b", "3.txt": b"c", "1.cls": b"0", "2.cls": b"1"})
    assert "x.tar: files of 2 samples lie apart (the first: 1)" in fails(tmp_path, "tar", path="x.tar")
    archive(tmp_path / "s-0.tar", {"1.txt": b"a"})
    archive(tmp_path / "s-1.tar", {"1.txt": b"b"})
    assert rows(tmp_path, "tar", path="s-*")["txt"].to_list() == ["a", "b"], "shards count from one anew"


def test_names_with_dots_are_told(tmp_path: Path) -> None:
    # cat.4001.jpg is the sample "cat" with a part "4001.jpg", which nobody means.
    archive(tmp_path / "x.tar", {f"cats/cat.{number}.jpg": b"" for number in range(200)})
    cats = fails(tmp_path, "tar", path="x.tar")
    assert "found more than 100 extensions (0.jpg, 1.jpg, 2.jpg and " in cats and "`type: images`" in cats
