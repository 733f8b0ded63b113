"""Parquet, JSON lines, scikit-learn's sets, and pictures: their faults and their cells."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.formats import pictures
from lode.data.place import Place


def make(folder: Path, word: str, **options: Any) -> Source:
    made: Source = REGISTRIES["source"].create(Component(word, options), Place(folder))
    return made


def fails(folder: Path, word: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        make(folder, word, **options).scan().collect()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a":1}\n{"a":2\n', "line 2 is no JSON"),
        (b'{"a":1}\n\nfoo\n', "line 3 is no JSON"),
        (b'{"a":1}\n[1]\n', "line 2 holds a JSON list"),
        (b'{"a":"\xff"}\n', "line 1 is not UTF-8"),
        (b"\n\n", "holds no objects"),
        (b"", "the file is empty"),
    ],
)
def test_a_broken_line_of_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    assert message in fails(tmp_path, "jsonl", path="x.jsonl")


def test_json_cells_of_several_types_become_text(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a":1}\n{"a":"x","b":true}\n')
    assert make(tmp_path, "jsonl", path="x.jsonl").scan().collect().rows() == [("1", None), ("x", True)]


def test_what_is_no_parquet_or_has_no_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"a,b\n1,2\n")
    assert "not readable as Parquet" in fails(tmp_path, "parquet", path="x.parquet")
    pl.DataFrame(schema={"a": pl.Int64}).write_parquet(tmp_path / "y.parquet")
    assert "no rows" in fails(tmp_path, "parquet", path="y.parquet")


def test_breast_cancer_says_malignant_and_benign(tmp_path: Path) -> None:
    rows = make(tmp_path, "sklearn", name="breast_cancer").scan().collect()
    assert rows.shape == (569, 31)
    assert dict(rows["diagnosis"].value_counts().rows()) == {"benign": 357, "malignant": 212}


def test_digits_come_as_numbers_or_pictures(tmp_path: Path) -> None:
    numbers = make(tmp_path, "sklearn", name="digits").scan().collect()
    assert numbers.width == 65 and numbers.columns[-1] == "digit"
    picture = make(tmp_path, "sklearn", name="digits", as_image=True).scan().collect()["image"][0]
    array = np.load(io.BytesIO(picture), allow_pickle=False)
    assert array.shape == (8, 8) and array.dtype == np.uint8 and array.max() > 200


PNG = b"\x89PNG"


def archive(folder: Path, names: list[str]) -> str:
    with tarfile.open(folder / "x.tar.xz", "w:xz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            tar.addfile(info, io.BytesIO(PNG))
        link = tarfile.TarInfo("train/cats/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return "x.tar.xz"


def test_a_split_is_the_folder_above_the_classes(tmp_path: Path) -> None:
    path = archive(tmp_path, ["train/dogs/2.png", "train/cats/1.png", "test/cats/1.png", "./train/cats/0.png"])
    rows = make(tmp_path, "images", path=path, split="train").scan().select("path", "label").collect().rows()
    assert rows == [("train/cats/0.png", "cats"), ("train/cats/1.png", "cats"), ("train/dogs/2.png", "dogs")]
    assert 'no folder "trian" (`split`), found test, train. Did you mean "train"?' in fails(
        tmp_path, "images", path=path, split="trian"
    )


def test_links_and_names_that_lead_elsewhere_are_ignored(tmp_path: Path) -> None:
    path = archive(tmp_path, ["cats/1.png", "../evil/2.png", "/abs/3.png"])
    assert make(tmp_path, "images", path=path).scan().collect()["path"].to_list() == ["cats/1.png"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("cats/1.png", PNG)
        file.writestr("../evil/2.png", PNG)
        link = zipfile.ZipInfo("cats/3.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    assert make(tmp_path, "images", path="x.zip").scan().collect()["path"].to_list() == ["cats/1.png"]


def test_other_files_in_the_folder_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cats").mkdir(parents=True)
    (tmp_path / "pets" / "cats" / "1.JPG").write_bytes(PNG)
    for name in ("notes.txt", ".DS_Store", "cats/Thumbs.db"):
        (tmp_path / "pets" / name).write_bytes(b"x")
    made = make(tmp_path, "images", path="pets")
    assert made.scan().collect().select("label", "path").rows() == [("cats", "cats/1.JPG")]
    assert made.notes == ["pets: 3 files that are no pictures were skipped."]


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    assert "no pictures" in fails(tmp_path, "images", path="pets")


def test_a_cut_or_wrong_archive_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path, ["cats/1.png"])
    whole = (tmp_path / path).read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in fails(tmp_path, "images", path="cut.tar.xz")
    (tmp_path / "no.zip").write_bytes(b"not a zip")
    assert "not readable as zip" in fails(tmp_path, "images", path="no.zip")
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    assert "neither a folder nor one of .zip" in fails(tmp_path, "images", path="x.rar")


def test_idx_files_must_belong_together(tmp_path: Path) -> None:
    head = b"\0\0\x08\x03" + np.array([2, 2, 2], dtype=">u4").tobytes()
    (tmp_path / "x").write_bytes(head + bytes(range(8)))
    (tmp_path / "y").write_bytes(b"\0\0\x08\x01" + np.array([2], dtype=">u4").tobytes() + b"\x07\x02")
    (tmp_path / "one").write_bytes(b"\0\0\x08\x01" + np.array([1], dtype=">u4").tobytes() + b"\x07")
    rows = make(tmp_path, "images", path="x", labels="y", name="digit", label="which").scan().collect()
    assert rows["which"].to_list() == ["7", "2"]
    assert np.load(io.BytesIO(rows["digit"][1]), allow_pickle=False).tolist() == [[4, 5], [6, 7]]
    assert "2 pictures, but 1 labels" in fails(tmp_path, "images", path="x", labels="one")
    assert "an IDX file with 1 axes, 3 needed" in fails(tmp_path, "images", path="y", labels="y")
    (tmp_path / "cut").write_bytes(head + b"\0")
    assert "the header says" in fails(tmp_path, "images", path="cut", labels="y")


def test_npy_cells_are_what_numpy_writes() -> None:
    arrays = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    buffer = io.BytesIO()
    np.save(buffer, arrays[1])
    assert pictures.npy_cells(arrays)[1] == buffer.getvalue()


def test_the_fingerprint_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "x" / name).parent.mkdir(parents=True)
        (tmp_path / "x" / name).write_bytes(PNG)
    first = make(tmp_path, "images", path="x").fingerprint()
    (tmp_path / "x" / "a/1.png").write_bytes(PNG + b"2")
    second = make(tmp_path, "images", path="x").fingerprint()
    (tmp_path / "x" / "a/1.png").rename(tmp_path / "x" / "a/2.png")
    assert len({first, second, make(tmp_path, "images", path="x").fingerprint()}) == 3
