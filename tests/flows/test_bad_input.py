"""Bad input, as a user meets it: exit code 2, one message that says what and what to do, no traceback, nothing half-written."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.flows.flow import Verb, write_spec

ROWS = 200


def _table(change: Callable[[list[list[str]]], None] | None = None, header: str = "a,b,y") -> bytes:
    """A clean CSV of numbers and words with a target of two classes, changed."""
    generator = np.random.default_rng(0)
    rows = [
        [f"{value:.3f}", "red" if value > 0 else "blue", "yes" if value + noise > 0 else "no"]
        for value, noise in generator.normal(size=(ROWS, 2))
    ]
    if change is not None:
        change(rows)
    return "\n".join([header, *(",".join(row) for row in rows)]).encode() + b"\n"


def _set(row: int, column: int, cell: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = cell

    return change


def _column(column: int, make: Callable[[list[str]], str]) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        for row in rows:
            row[column] = make(row)

    return change


def _drop_cell(rows: list[list[str]]) -> None:
    rows[41].pop()


def _each_tenth(rows: list[list[str]]) -> None:
    for row in rows[::50]:
        row[0] = "n.v."


SPEC: dict[str, Any] = {
    "name": "bad",
    "data": {"source": {"type": "csv", "path": "rows.csv"}},
    "inputs": {"a": "number", "b": "category"},
    "outputs": {"y": {"type": "binary", "positive": "yes"}},
    "model": {"type": "linear"},
}


def _done(here: Verb, verb: str, path: Path) -> Any:
    """What the stages of a command that succeeds say of themselves."""
    done = here(verb, path, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["stages"]


BAD = {
    "missing file": (None, {}, ["rows.csv: no such file"]),
    "empty file": (b"", {}, ["rows.csv", "empty"]),
    "header only": (b"a,b,y\n", {}, ["rows.csv", "no rows"]),
    "wrong delimiter": (
        _table().replace(b",", b";"),
        {"data": {"source": {"type": "csv", "path": "rows.csv", "separator": ","}}},
        ["separator", ";"],
    ),
    "one column too few": (_table(_drop_cell), {}, ["rows.csv", "43"]),
    "mixed types in a number column": (
        _table(_each_tenth),
        {},
        ["lode.yaml:inputs.a (line 7): 4 cells", "'n.v.'; first in row 0,", "types"],
    ),
    "infinity in a number column": (
        _table(_set(3, 0, "inf")),
        {},
        ["lode.yaml:inputs.a (line 7): 1 cell", "'inf'; first in row 3,", "types"],
    ),
    "all labels equal": (_table(_column(2, lambda row: "yes")), {}, ["lode.yaml:outputs.y (line ", '"yes"', "nothing to learn"]),
    "positive never occurs": (_table(), {"outputs": {"y": {"type": "binary", "positive": "ja"}}}, ["ja", "yes", "no"]),
    "weight of no class": (
        _table(),
        {"outputs": {"y": {"type": "binary", "positive": "yes", "class_weights": {"yess": 2}}}},
        ["lode.yaml:outputs.y (line ", 'class_weights names "yess"', 'Did you mean "yes"'],
    ),
    "invalid UTF-8": (_table().replace(b"red", b"r\xe9d"), {}, ["UTF-8", "encoding"]),
    "duplicate column names": (_table(header="a,a,y"), {}, ['rows.csv: the header names "a" twice']),
    "no such column": (_table(header="a,bb,y"), {}, ['"b"', '"bb"']),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_explained(case: str, tmp_path: Path, here: Verb) -> None:
    content, changes, fragments = BAD[case]
    path = write_spec(tmp_path, {**SPEC, **changes})
    if content is not None:
        (tmp_path / "rows.csv").write_bytes(content)
    done = here("run", path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for fragment in fragments:
        assert fragment in done.stderr, done.stderr
    assert not list((tmp_path / "runs").glob("artifacts/*/[0-9]*"))


SURVIVES = {
    "a label never seen in training, in the test rows": (_table(_set(7, 2, "maybe")), {"outputs": {"y": "multiclass"}}),
    "a class with one row": (_table(_set(7, 2, "rare")), {"outputs": {"y": "multiclass"}}),
    "missing and NaN cells": (_table(_column(0, lambda row: "NaN" if row[1] == "red" else row[0])), {}),
    "bad cells with the cleaner `types`": (_table(_each_tenth), {"data": {**SPEC["data"], "clean": ["types"]}}),
    "a cell of 10 MB": (_table(_set(5, 1, "x" * 10_000_000)), {}),
    "missing labels": (_table(_set(5, 2, "")), {}),
}


@pytest.mark.parametrize("case", SURVIVES)
def test_a_rough_table_is_counted_and_used(case: str, tmp_path: Path, here: Verb) -> None:
    content, changes = SURVIVES[case]
    path = write_spec(tmp_path, {**SPEC, **changes})
    (tmp_path / "rows.csv").write_bytes(content)
    assert _done(here, "run", path)["package"]["result"]["version"] == 1


def test_counted_cells_are_told(tmp_path: Path, here: Verb) -> None:
    path = write_spec(tmp_path, {**SPEC, "data": {**SPEC["data"], "clean": ["types"]}})
    (tmp_path / "rows.csv").write_bytes(_table(_each_tenth))
    notes = " ".join(_done(here, "data", path)["data"]["result"]["notes"])
    assert "4" in notes and "n.v." in notes


def test_a_feature_equal_to_the_target_is_a_warning(tmp_path: Path, here: Verb) -> None:
    path = write_spec(tmp_path, SPEC)
    (tmp_path / "rows.csv").write_bytes(_table(_column(1, lambda row: "yes1" if row[2] == "yes" else "no1")))
    found = _done(here, "data", path)["data"]["result"]["findings"]
    assert any(item["finding"] == "leakage" and "b" in item["columns"] and item["severity"] == "error" for item in found)


def _picture(color: int, size: int = 16) -> bytes:
    generator = np.random.default_rng(color)
    buffer = io.BytesIO()
    Image.fromarray((generator.integers(0, 60, (size, size, 3)) + color * 60).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _bomb() -> bytes:
    """A small file of 60,000 x 60,000 pixels, all black."""
    rows, packer = bytes(7_501 * 1_000), zlib.compressobj(1)
    pixels = b"".join(packer.compress(rows) for _ in range(60)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + word + data + struct.pack(">I", zlib.crc32(word + data)) for word, data in chunks
    )


def test_bad_images_are_rejected_by_name_and_the_rest_is_used(tmp_path: Path, here: Verb) -> None:
    for color, word in enumerate(("dark", "light")):
        folder = tmp_path / "pictures" / word
        folder.mkdir(parents=True)
        for number in range(80):
            (folder / f"{number:03d}.png").write_bytes(_picture(color + number % 2))
    folder = tmp_path / "pictures" / "dark"
    (folder / "cut.png").write_bytes(_picture(0)[:200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(_bomb())
    (folder / "notes.txt").write_text("not a picture")
    spec = {
        "name": "bad-pictures", "data": {"source": {"type": "images", "path": "pictures"}},
        "inputs": {"image": "image"}, "outputs": {"label": {"type": "binary", "positive": "light"}},
        "model": {"type": "linear"},
    }  # fmt: skip
    result = _done(here, "run", write_spec(tmp_path, spec))["data"]["result"]
    assert sum(result["rows"].values()) == 160
    notes = " ".join(result["notes"])
    for name in ("cut.png", "empty.png", "bomb.png"):
        assert name in notes, notes


def test_pictures_beside_the_file_are_read_without_what_runs_write(tmp_path: Path, here: Verb) -> None:
    for color, word in enumerate(("dark", "light")):
        (tmp_path / word).mkdir()
        for number in range(60):
            (tmp_path / word / f"{number}.png").write_bytes(_picture(color * 2))
    spec = {
        "name": "beside", "data": {"source": {"type": "images", "path": "."}},
        "inputs": {"image": "image"}, "outputs": {"label": {"type": "binary", "positive": "light"}}, "model": {"type": "linear"},
    }  # fmt: skip
    path = write_spec(tmp_path, spec)
    first = _done(here, "data", path)["data"]
    assert sum(first["result"]["rows"].values()) == 120
    again = _done(here, "data", path)["data"]
    assert again["cached"] and again["key"] == first["key"]


def test_an_archive_that_points_outside_is_not_followed(tmp_path: Path, here: Verb) -> None:
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for color, word in enumerate(("dark", "light")):
            for number in range(60):
                archive.writestr(f"{word}/{number}.png", _picture(color * 2))
        archive.writestr("../../evil/1.png", _picture(1))
    spec = {
        "name": "zip", "data": {"source": {"type": "images", "path": "pictures.zip"}},
        "inputs": {"image": "image"}, "outputs": {"label": {"type": "binary", "positive": "light"}}, "model": {"type": "linear"},
    }  # fmt: skip
    result = _done(here, "data", write_spec(tmp_path, spec))["data"]["result"]
    assert sum(result["rows"].values()) == 120
    assert not (tmp_path.parent.parent / "evil").exists()


def test_every_problem_of_the_file_is_told_at_once(tmp_path: Path, here: Verb) -> None:
    path = write_spec(tmp_path, {
        "name": "bad", "data": {"sourc": "x", "source": {"type": "csv", "path": "rows.csv", "seperator": ","}, "split": {"sed": 1}},
        "inputs": {"a": {"type": "nmber"}, "b": {"type": "category", "min_cout": 2}},
        "outputs": {"y": {"type": "binary", "positve": "yes"}}, "model": {"type": "network", "widht": 3}, "train": {"epoch": 3},
        "value": {"currency": "EUR", "true_positiv": 1}, "serve": {"prt": 1}, "evaluate": {"resample": 500}, "modle": "auto",
    })  # fmt: skip
    done = here("check", path)
    assert done.returncode == 2 and not done.stdout
    for word, near in [("sourc", "source"), ("seperator", "separator"), ("sed", "seed"), ("nmber", "number"), ("min_cout", "min_count"),
                       ("positve", "positive"), ("widht", "width"), ("epoch", "epochs"), ("true_positiv", "true_positive"), ("prt", "port"),
                       ("resample", "resamples"), ("modle", "model")]:  # fmt: skip
        assert any(
            f'"{word}"' in line and f'Did you mean "{near}"?' in line and "(line " in line for line in done.stderr.splitlines()
        ), (word, done.stderr)
