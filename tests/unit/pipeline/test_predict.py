"""Batch prediction never harms what it reads, and says only what it wrote."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from lode.cli import gc
from lode.cli import predict as verb
from lode.core.errors import DataError, SpecError
from lode.core.types import ColumnSchema, Problem
from lode.data.place import Place
from lode.pipeline.loading import Loaded
from lode.pipeline.predict import predict_file, source_of

ROWS = "mean size,worst size,note\n1,2,x\n3,4,y\n"


class _Model:
    """Adds up its two columns."""

    name, version, hash = "sum", 1, "0" * 8
    columns = tuple(ColumnSchema(name, "number", "number", "a number") for name in ("mean size", "worst size"))

    def __init__(self, wrong: list[int]):
        self.wrong = wrong

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        return [Problem(row, "mean size", "x", "a number") for row in self.wrong]

    def predict(self, frame: pl.DataFrame, *, check: bool) -> pl.DataFrame:
        return frame.select(y=pl.col("mean size") + pl.col("worst size"))

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        return {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def _predict(folder: Path, output: str, wrong: list[int], rows: str = "rows.csv") -> dict[str, Any]:
    return predict_file(cast("Loaded", _Model(wrong)), source_of(rows, {}), folder / output, Place(folder))


@pytest.mark.parametrize("output", ["rows.csv", "deeper/../rows.csv", "linked.csv"])
def test_answers_are_not_written_over_the_rows(folder: Path, output: str) -> None:
    (folder / "deeper").mkdir()
    (folder / "linked.csv").symlink_to(folder / "rows.csv")
    with pytest.raises(DataError, match=r"\.csv: found the file of the rows, allowed: another one\. Name another output\."):
        _predict(folder, output, [])
    assert (folder / "rows.csv").read_text() == ROWS


def test_nor_are_rejected_rows(folder: Path) -> None:
    (folder / "out.rejected.csv").write_text(ROWS)
    with pytest.raises(DataError, match=r"out\.rejected\.csv: found the file of the rows"):
        _predict(folder, "out.csv", [0], rows="out.rejected.csv")
    assert (folder / "out.rejected.csv").read_text() == ROWS


def test_where_no_row_could_be_predicted_no_output_is_named(folder: Path) -> None:
    some = _predict(folder, "out.csv", [1])
    assert (some["output"], some["rejected_output"]) == (str(folder / "out.csv"), str(folder / "out.rejected.csv"))
    none = _predict(folder, "out.csv", [0, 1])
    assert none["output"] is None and not (folder / "out.csv").exists()
    shown = verb.show({**none, "model": "sum", "version": 1})
    assert shown.startswith("0 of 2 rows predicted with sum version 1, so no output was written\n2 rows rejected")


def test_a_missing_column_is_not_looked_for_among_those_that_are_needed(folder: Path) -> None:
    (folder / "less.csv").write_text("worst size,mean_size\n1,2\n")
    with pytest.raises(DataError, match=r'needed mean size too\. Did you mean "mean_size"\? Add the columns'):
        _predict(folder, "out.csv", [], rows="less.csv")
    (folder / "less.csv").write_text("worst size,other\n1,2\n")
    with pytest.raises(DataError, match=r"needed mean size too\. Add the columns"):
        _predict(folder, "out.csv", [], rows="less.csv")


def test_fewer_than_no_runs_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--keep: found -1, allowed: 0 or more\."):
        gc.run(argparse.Namespace(keep=-1, runs=tmp_path, yes=True, json=True))
