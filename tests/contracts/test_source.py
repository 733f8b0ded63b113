"""Every source passes the suite of lode.testing. A new source needs one line in OPTIONS."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
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


OPTIONS: list[tuple[str, Callable[[Path], Mapping[str, Any]]]] = [
    ("csv", _csv),
    ("csv", _csv_gz),
    ("csv", _csv_latin),
    ("parquet", _parquet),
    ("jsonl", _jsonl),
    ("images", _images),
    ("images", _zip),
    ("images", _idx),
    ("sklearn", lambda folder: {"name": "iris"}),
    ("sklearn", lambda folder: {"name": "digits", "as_image": True}),
]


@pytest.mark.parametrize(("word", "prepare"), OPTIONS)
def test_a_source_keeps_its_contract(word: str, prepare: Callable[[Path], Mapping[str, Any]], tmp_path: Path) -> None:
    component = Component(word, prepare(tmp_path))
    check_source(lambda: REGISTRIES["source"].create(component, Place(tmp_path)))


@pytest.mark.parametrize("word", ["csv", "parquet", "jsonl", "images"])
def test_a_missing_file_is_named_with_the_next_step(word: str, tmp_path: Path) -> None:
    check_missing(lambda: REGISTRIES["source"].create(Component(word, {"path": "nowhere.bin"}), Place(tmp_path)), "nowhere.bin")


def test_every_source_is_tested() -> None:
    assert {word for word, _ in OPTIONS} == set(REGISTRIES["source"].names())
