"""Every source passes the suite of lode.testing. A new source needs one line in OPTIONS."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import fsspec  # type: ignore[import-untyped]
import h5py
import mongomock
import numpy as np
import openpyxl
import polars as pl
import pytest
import soundfile
from PIL import Image

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.place import Place
from lode.testing.source import check_missing, check_source

TABLE = "age,city,note\n31, Bern ,a\n?,Oslo,\n44,Bern,c\n"


def _csv(folder: Path) -> Mapping[str, Any]:
    (folder / "rows.csv").write_text(TABLE)
    return {"path": "rows.csv"}


def _csv_gz(folder: Path) -> Mapping[str, Any]:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    return {"path": "rows.csv.gz"}


def _csv_latin(folder: Path) -> Mapping[str, Any]:
    (folder / "rows.csv").write_bytes("city;age\nZ\u00fcrich;1\nBern;2\n".encode("latin-1"))
    return {"path": "rows.csv", "encoding": "latin-1"}


def _parquet(folder: Path) -> Mapping[str, Any]:
    pl.DataFrame({"age": [31, None, 44], "city": ["Bern", "Oslo", "Bern"]}).write_parquet(folder / "rows.parquet")
    return {"path": "rows.parquet"}


def _jsonl(folder: Path) -> Mapping[str, Any]:
    lines = [{"age": 31, "city": "Bern"}, {"age": 2.5, "city": None}, {"age": 44, "city": "Oslo"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"path": "rows.jsonl"}


def _picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def _images(folder: Path) -> Mapping[str, Any]:
    for label in ("cats", "dogs"):
        (folder / "pets" / label).mkdir(parents=True)
        for index in range(2):
            (folder / "pets" / label / f"{index}.png").write_bytes(_picture(40 * index))
    return {"path": "pets"}


def _zip(folder: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        archive.writestr("cats/1.png", _picture(1))
        archive.writestr("dogs/1.png", _picture(2))
    return {"path": "pets.zip"}


def _idx(folder: Path) -> Mapping[str, Any]:
    pictures = np.arange(2 * 3 * 3, dtype=np.uint8)
    (folder / "x").write_bytes(b"\0\0\x08\x03" + np.array([2, 3, 3], dtype=">u4").tobytes() + pictures.tobytes())
    (folder / "y").write_bytes(b"\0\0\x08\x01" + np.array([2], dtype=">u4").tobytes() + b"\x07\x02")
    return {"path": "x", "labels": "y"}


def _json(folder: Path) -> Mapping[str, Any]:
    records = [{"age": 31, "home": {"city": "Bern"}}, {"age": 2.5, "home": None}, {"age": 44, "home": {"city": "Oslo"}}]
    (folder / "rows.json").write_text(json.dumps({"data": {"people": records}}, indent=1))
    return {"path": "rows.json", "records": "data.people"}


def _json_columns(folder: Path) -> Mapping[str, Any]:
    (folder / "rows.json").write_text(json.dumps({"age": [31, None, 44], "city": ["Bern", "Oslo", None]}))
    return {"path": "rows.json"}


def _excel(folder: Path) -> Mapping[str, Any]:
    book = openpyxl.Workbook()
    for row in (("age", "city", "day"), (31, "Bern", date(2024, 1, 2)), (None, "Oslo", date(2024, 1, 3)), (44, None, None)):
        book.active.append(row)
    book.save(folder / "rows.xlsx")
    return {"path": "rows.xlsx"}


def _arrow(folder: Path) -> Mapping[str, Any]:
    pl.DataFrame({"age": [31, None, 44], "city": ["Bern", "Oslo", "Bern"]}).write_ipc(folder / "rows.arrow")
    return {"path": "rows.arrow"}


def _arrow_stream(folder: Path) -> Mapping[str, Any]:
    pl.DataFrame({"age": [31, None, 44], "city": ["Bern", "Oslo", "Bern"]}).write_ipc_stream(folder / "rows.arrows")
    return {"path": "rows.arrows"}


def _hdf5(folder: Path) -> Mapping[str, Any]:
    with h5py.File(folder / "rows.h5", "w") as file:
        file["train/age"] = np.array([31.0, np.nan, 44.0])
        file["train/city"] = ["Bern", "Oslo", "Bern"]
    return {"path": "rows.h5", "dataset": "/train"}


def _hdf5_table(folder: Path) -> Mapping[str, Any]:
    with h5py.File(folder / "rows.h5", "w") as file:
        file["table"] = np.array(
            [(31, b"Bern", [1, 2]), (44, b"Oslo", [3, 4])], dtype=[("age", ">i4"), ("city", "S4"), ("at", "f4", 2)]
        )
    return {"path": "rows.h5", "dataset": "table"}


def _hdf5_matrix(folder: Path) -> Mapping[str, Any]:
    with h5py.File(folder / "rows.h5", "w") as file:
        file["matrix"] = np.arange(6.0).reshape(3, 2)
    return {"path": "rows.h5", "columns": ["age", "height"]}


def _npz(folder: Path) -> Mapping[str, Any]:
    pictures = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(
        folder / "rows.npz",
        image=pictures,
        label=np.array([[1], [0]], ">i2"),
        city=np.array(["Bern", "Oslo"]),
        at=np.eye(2, dtype="f2"),
    )
    return {"path": "rows.npz"}


def _npz_named(folder: Path) -> Mapping[str, Any]:
    return {**_npz(folder), "arrays": {"scan": "image", "found": "label"}}


def _text(folder: Path) -> Mapping[str, Any]:
    for name, words in (("a/1", "hello"), ("a/2", ""), ("b/1", "Z\u00fcrich")):
        (folder / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "texts" / f"{name}.txt").write_text(words, encoding="utf-8")
    return {"path": "texts"}


def _audio(folder: Path) -> Mapping[str, Any]:
    for name in ("dogs/1.wav", "cats/1.flac", "cats/2.ogg"):
        (folder / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "sounds" / name, np.sin(np.arange(4_000) / 9.0) / 2, 8_000)
    return {"path": "sounds"}


def _tar(folder: Path) -> Mapping[str, Any]:
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard}.tar.gz", "w:gz") as archive:
            for name, data in (
                (f"{shard}0.cls", b"3"),
                (f"{shard}0.png", _picture(9)),
                (f"{shard}1.json", b'{"who": {"age": 31}}'),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return {"path": "shard-*.tar.gz"}


def _sql(folder: Path) -> Mapping[str, Any]:
    connection = sqlite3.connect(folder / "rows.db")
    connection.executescript("CREATE TABLE rows (id INTEGER PRIMARY KEY, age REAL, city TEXT);")
    connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", [(1, 31, "Bern"), (2, None, "Oslo"), (3, 44.5, None)])
    connection.commit()
    connection.close()
    return {"url": "sqlite:///rows.db", "table": "rows", "batch_rows": 2}


def _mongo(folder: Path) -> Mapping[str, Any]:
    return {"url": "mongodb://stand-in", "database": "shop", "collection": "rows", "batch_rows": 2}


@pytest.fixture(autouse=True)
def mongo_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MongoDB server is packaged where tests run: mongomock answers in its place."""
    client = mongomock.MongoClient()
    client["shop"]["rows"].insert_many([{"_id": number, "city": "Bern", "at": {"lat": number / 2}} for number in range(3)])
    monkeypatch.setattr(importlib.import_module("lode.data.sources.mongo"), "MongoClient", lambda *_, **__: client)


def _join(folder: Path) -> Mapping[str, Any]:
    (folder / "rows.csv").write_text(TABLE)
    (folder / "cities.csv").write_text("city,country\nBern,CH\nBern,ch\nRoma,IT\n")
    return {
        "left": {"type": "csv", "path": "rows.csv"},
        "right": {"type": "csv", "path": "cities.csv"},
        "on": "city",
        "how": "full",
    }


def _object(folder: Path) -> Mapping[str, Any]:
    for year in (2023, 2024):
        (folder / "sales" / f"year={year}").mkdir(parents=True)
        (folder / "sales" / f"year={year}" / "rows.csv").write_text(TABLE)
    return {"url": f"file://{folder}/sales/**/*.csv", "format": "csv"}


def _object_memory(folder: Path) -> Mapping[str, Any]:
    buffer = io.BytesIO()
    pl.DataFrame({"age": [31, None, 44], "city": ["Bern", "Oslo", "Bern"]}).write_parquet(buffer)
    for name in ("a", "b"):
        fsspec.filesystem("memory").pipe(f"/{folder.name}/{name}.parquet", buffer.getvalue())
    return {"url": f"memory://{folder.name}", "format": {"type": "parquet"}}


def _conll(folder: Path) -> Mapping[str, Any]:
    (folder / "tags.conll").write_text("Anna B-PER\nlives O\n\nin O\nBern B-LOC\n")
    return {"path": "tags.conll"}


def _delta(folder: Path) -> Mapping[str, Any]:
    rows = pl.DataFrame({"age": [31, None, 44], "city": ["Bern", "Oslo", "Bern"]})
    deltalake.write_deltalake(folder / "table", rows, partition_by=["city"])
    deltalake.write_deltalake(folder / "table", rows, mode="append")
    return {"path": "table"}


def _huggingface(folder: Path) -> Mapping[str, Any]:
    for name in ("train", "test"):
        (folder / "set").mkdir(exist_ok=True)
        (folder / "set" / f"{name}.csv").write_text(TABLE)
    return {"path": "set"}


OPTIONS: list[tuple[str, Callable[[Path], Mapping[str, Any]]]] = [
    ("csv", _csv),
    ("csv", _csv_gz),
    ("csv", _csv_latin),
    ("parquet", _parquet),
    ("jsonl", _jsonl),
    ("images", _images),
    ("images", _zip),
    ("images", _idx),
    ("json", _json),
    ("json", _json_columns),
    ("excel", _excel),
    ("arrow", _arrow),
    ("arrow", _arrow_stream),
    ("hdf5", _hdf5),
    ("hdf5", _hdf5_table),
    ("hdf5", _hdf5_matrix),
    ("npz", _npz),
    ("npz", _npz_named),
    ("text", _text),
    ("audio", _audio),
    ("tar", _tar),
    ("sql", _sql),
    ("mongo", _mongo),
    ("join", _join),
    ("object", _object),
    ("object", _object_memory),
    ("delta", _delta),
    ("conll", _conll),
    ("huggingface", _huggingface),
    ("python_library", lambda folder: {"only": ["json", "this"]}),
    ("sklearn", lambda folder: {"name": "iris"}),
    ("sklearn", lambda folder: {"name": "digits", "as_image": True}),
]


@pytest.mark.parametrize(("word", "prepare"), OPTIONS)
def test_a_source_keeps_its_contract(word: str, prepare: Callable[[Path], Mapping[str, Any]], tmp_path: Path) -> None:
    component = Component(word, prepare(tmp_path))
    check_source(lambda: REGISTRIES["source"].create(component, Place(tmp_path)))


@pytest.mark.parametrize(
    "word", ["csv", "parquet", "jsonl", "images", "json", "excel", "arrow", "hdf5", "npz", "text", "audio", "tar"]
)
def test_a_missing_file_is_named_with_the_next_step(word: str, tmp_path: Path) -> None:
    check_missing(lambda: REGISTRIES["source"].create(Component(word, {"path": "nowhere.bin"}), Place(tmp_path)), "nowhere.bin")


def test_every_source_is_tested() -> None:
    assert {word for word, _ in OPTIONS} == set(REGISTRIES["source"].names())
