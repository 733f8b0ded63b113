"""The source `conll`: one token a line, blank lines between texts; and outputs that hold several words."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.place import Place
from lode.data.sources.conll import Conll
from lode.data.targets import cells_of, joined


def read(folder: Path, text: str, **options: Any) -> list[tuple[str, str]]:
    (folder / "x.conll.gz").write_bytes(gzip.compress(text.encode()))
    return Conll(Place(folder), path="x.conll.gz", **options).scan().collect().rows()  # type: ignore[arg-type]


def test_texts_are_parted_by_blank_lines_of_any_kind(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O\r\n\r\nAnna\tB-PER\r\nsings O\r\n \r\n\r\nBern B-LOC"
    assert read(tmp_path, text) == [("Anna sings", "B-PER O"), ("Bern", "B-LOC")]


def test_columns_are_chosen_by_their_place(tmp_path: Path) -> None:
    assert read(tmp_path, "1 Anna NN B-PER\n2 sings VB O\n", token_column=1, tag_column=2) == [("Anna sings", "NN VB")]


@pytest.mark.parametrize(("text", "said"), [("Anna\n", "line 1 has 1 columns"), ("\n\n", "holds no token")])
def test_a_file_of_another_kind_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text)


def test_a_token_is_not_its_own_tag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its last one is the token"):
        read(tmp_path, "1 Anna\n", token_column=1)
    for same in ({"tokens": "x", "tags": "x"}, {"token_column": 1, "tag_column": 1}):
        with pytest.raises(DataError, match="allowed are two"):
            read(tmp_path, "1 Anna B\n", **same)


def test_bytes_that_are_no_utf_8_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_bytes(b"Anna B-PER\n\xff\xfe O\n")
    with pytest.raises(DataError, match="no UTF-8"):
        Conll(Place(tmp_path), path="x.conll").scan()  # type: ignore[arg-type]


def test_lists_of_labels_are_joined_and_a_label_with_the_separator_is_an_error() -> None:
    column = pl.Series("genres", [["a", "b"], [], None])
    assert joined(column, "|").to_list() == ["a|b", "", ""]
    with pytest.raises(DataError, match='holds the separator "b"'):
        joined(column, "b")


def test_the_data_layer_reads_from_a_task_how_its_column_is_kept() -> None:
    assert [cells_of(word) for word in ("binary", "number", "quantiles", "multilabel", "tagging", "anomaly")] == [
        "words", "numbers", "numbers", "lists", "lists", "flags",
    ]  # fmt: skip
