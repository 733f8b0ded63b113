"""`data.memory` is a bound, never an answer: with everything on disk every cleaner does what it does in memory."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import polars as pl
import pytest
import yaml

from lode.core import spec as specs
from lode.data import snapshot
from lode.data.changes import ChangeLog
from lode.data.cleaners.missing import Missing
from lode.data.cleaners.outliers import Outliers
from lode.data.ingest import Ingested, ingest
from lode.data.place import Place
from lode.data.split import PARTS

WORDS = ["pain", "left", "right", "arm", "leg", "since", "monday", "tuesday", "night", "worse", "better", "much", "none"]
CLEAN = [
    "pii",
    "types",
    "duplicates",
    {"type": "duplicates", "near": "text", "columns": ["note"]},
    {"type": "outliers", "method": "mad", "action": "null"},
    {"type": "rules", "action": "fix", "rules": ["end >= start", "zip determines city"]},
    {"type": "missing", "numbers": "median", "categories": "mode", "columns": {"end": "model"}},
]
FILE = {
    "name": "bounds",
    "data": {
        "source": {"type": "csv", "path": "rows.csv"},
        "clean": CLEAN,
        "split": {"by": "group", "column": "clinic", "folds": 3},
    },
    "inputs": {"start": "number", "end": "number", "zip": "category", "city": "category", "day": "date", "note": "text"},
    "outputs": {"y": {"type": "binary", "positive": 1}},
    "model": "linear",
}


def line(dice: random.Random, note: str) -> str:
    """One dirty row."""
    start, place = dice.randrange(1_000, 9_000), dice.randrange(30)
    shown = dice.choice([f"{start}", f'"{start:,}"', f"{start} EUR", "", "unknown"])
    end = start + dice.choice([7, 70, 300, -7, 10**6] if dice.random() < 0.1 else [30, 60, 90])
    city = "twon" if dice.random() < 0.02 else f"town {place}"
    day = dice.choice(["2024-05-17", "17/05/2024"])
    return f"c{dice.randrange(90)},{shown},{end},{place},{city},{day},{note} p@x.org,{dice.randrange(2)}"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with rows.csv: 9,000 dirty rows, more than two batches of the smallest size."""
    dice = random.Random(0)
    notes = [" ".join(dice.choices(WORDS, k=20)) for _ in range(9_000)]
    lines = [line(dice, note) for note in [*notes, *(f"{note} again" for note in notes[:30])]]
    (tmp_path / "rows.csv").write_text("\n".join(["clinic,start,end,zip,city,day,note,y", *lines, *lines[50:90]]) + "\n")
    return tmp_path


AGAIN = [
    "types",
    {"type": "outliers", "method": "mad", "action": "null"},
    {"type": "missing", "numbers": "median", "categories": "mode"},
    {"type": "outliers", "method": "iqr", "limit": 0.5},
    {"type": "missing", "numbers": "model", "categories": "keep"},
    {"type": "outliers", "method": "z", "limit": 1.5},
]
"""Cleaners of which some are put to work anew whenever rows are read, before and after one whose work is kept."""


def made(folder: Path, memory: str) -> tuple[Ingested, list[pl.DataFrame]]:
    """The data stage within so much memory, and everything that it wrote."""
    file = {**FILE, "data": {**FILE["data"], "memory": memory}}  # type: ignore[dict-item]
    (folder / "lode.yaml").write_text(yaml.safe_dump(file))
    spec = specs.load(folder / "lode.yaml")
    target = folder / memory
    done = ingest(spec.data, spec.inputs, spec.outputs, Place(folder), target)
    return done, [snapshot.read(target, part) for part in (*PARTS, snapshot.CHANGES)]


def test_a_small_bound_changes_no_row_and_no_line_of_the_change_log(rows: Path) -> None:
    done, tables = made(rows, "4GB")
    again, others = made(rows, "200kB")
    assert again == done
    assert all(one.equals(other) for one, other in zip(tables, others, strict=True))
    assert (rows / "200kB" / "report.json").read_text() == (rows / "4GB" / "report.json").read_text()
    changed_by = set(tables[-1]["cleaner"])
    assert changed_by == {"pii", "types", "duplicates 1", "duplicates 2", "outliers", "rules", "missing"}


def test_where_the_change_log_cannot_be_kept_the_run_ends_with_its_error_and_no_thread_waits(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ChangeLog, word: str, part: object, found: pl.DataFrame, hides: object = None) -> None:
        if found["column"].is_in(["start"]).any():
            batches.append(found)
        if len(batches) == 2:  # by now the columns that change are being written by a thread of their own
            raise OSError(28, "No space left on device")

    batches: list[pl.DataFrame] = []
    monkeypatch.setattr(ChangeLog, "add", full)
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="No space left") as told:
        made(rows, "200kB")
    waiting = [thread for thread in threading.enumerate() if thread not in before]
    for thread in waiting:
        thread.join(20)
    assert told.value.errno == 28 and not [thread for thread in waiting if thread.is_alive()]
    assert not (rows / "200kB" / ".columns").exists()


@pytest.mark.parametrize("memory", ["4GB", "200kB"])
def test_cleaners_that_work_anew_for_each_reader_change_what_kept_work_changes(
    rows: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    monkeypatch.setitem(FILE["data"], "clean", AGAIN)  # type: ignore[arg-type]
    done, tables = made(rows, memory)
    monkeypatch.setattr(Missing, "own_column", property(lambda self: False, lambda self, value: None))
    monkeypatch.setattr(Outliers, "own_column", property(lambda self: False, lambda self, value: None))
    again, others = made(rows, memory)
    assert again == done
    assert all(one.equals(other) for one, other in zip(tables, others, strict=True))
    assert set(tables[-1]["cleaner"]) >= {"outliers 1", "missing 1", "outliers 2", "outliers 3"}
