"""What goes wrong while a file is done names the file and the line, as what is wrong with the file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.core.errors import BooksError, DataError, LodeError
from lode.core.naming import named

FILE = """\
name: churn
data:
  source: {type: csv, path: data.csv}
  clean:
    - duplicates
inputs:
  age: number
  Age.in years: number
  "film:token": {type: text, encoder: lstm}
outputs: {y: binary}
train: {epochs: 3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lode.yaml"
    path.write_text(FILE, "utf-8")
    return path


def _told(file: Path, message: str) -> str:
    with pytest.raises(DataError) as caught, named(file):
        raise DataError(message)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("inputs.age", 7), ("inputs.Age.in years", 8), ("inputs.film:token.encoder", 9), ("inputs.other", 6), ("outputs.y", 10),
        ("train.epochs", 11), ("train.stop.patience", 11), ("data.clean duplicates", 4), ("data.split.test", 2),
    ],
)  # fmt: skip
def test_a_key_gets_its_file_and_its_line(file: Path, key: str, line: int) -> None:
    assert _told(file, f"{key}: 3 cells are bad. Mend them.") == f"{file}:{key} (line {line}): 3 cells are bad. Mend them."


@pytest.mark.parametrize(
    "message",
    [
        "data.csv: line 3 has 2 columns.",
        "train.jsonl.gz: damaged.",
        "data/rows.parquet: no such file.",
        "age: 3 cells.",
        "out of rows",
    ],
)
def test_what_speaks_of_no_key_stays_as_it_is(file: Path, message: str) -> None:
    assert _told(file, message) == message


@pytest.mark.parametrize("key", ["evaluate.tasks", "model"])
def test_what_the_file_leaves_open_has_no_line(file: Path, key: str) -> None:
    assert _told(file, f"{key}: found none.") == f"{file}:{key}: found none."


def test_every_line_of_a_message_is_placed_once(file: Path) -> None:
    told = _told(file, f"inputs.age: bad.\n{file}:outputs.y (line 10): bad.\ninputs.film:token: bad.")
    assert told.splitlines() == [
        f"{file}:inputs.age (line 7): bad.", f"{file}:outputs.y (line 10): bad.", f"{file}:inputs.film:token (line 9): bad.",
    ]  # fmt: skip


def test_the_error_stays_what_it_was(file: Path) -> None:
    with pytest.raises(BooksError) as caught, named(file):
        raise BooksError("serve.port: taken.", retry_s=3)
    assert caught.value.retry_s == 3
    assert str(caught.value) == f"{file}:serve.port: taken."


def test_a_file_that_is_gone_is_still_named(tmp_path: Path) -> None:
    with pytest.raises(LodeError, match=r"gone\.yaml:inputs\.age: bad"), named(tmp_path / "gone.yaml"):
        raise DataError("inputs.age: bad")
