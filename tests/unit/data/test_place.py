from __future__ import annotations

from pathlib import Path

import pytest

from lode.core.errors import DataError
from lode.data.place import Place


def test_the_data_folder_wins_over_the_folder_of_the_file(tmp_path: Path) -> None:
    base, data = tmp_path / "base", tmp_path / "data"
    for folder in (base, data):
        folder.mkdir()
        (folder / "x.csv").write_text("a\n1\n")
    assert Place(base, data).resolve("x.csv") == data / "x.csv"
    assert Place(base).resolve("x.csv") == base / "x.csv"
    (data / "x.csv").unlink()
    assert Place(base, data).resolve("x.csv") == base / "x.csv"


def test_a_missing_file_names_both_places_and_what_is_expected(tmp_path: Path) -> None:
    place = Place(tmp_path / "base", tmp_path / "data")
    with pytest.raises(DataError, match="no such file") as caught:
        place.resolve("rows.csv", sha256="abc123", origin="UCI")
    message = str(caught.value)
    assert str(tmp_path / "base" / "rows.csv") in message and str(tmp_path / "data" / "rows.csv") in message
    assert "expects rows.csv with sha256 abc123 from UCI; put it at" in message


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    assert Place(tmp_path / "elsewhere").resolve(str(tmp_path / "x.csv")) == tmp_path / "x.csv"
