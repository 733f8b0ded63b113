"""Words as codes: every way there gives the same Enum, whatever their number."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW
from lode.data.enums import cleaned, coded, enumerated, renamed
from lode.data.storage.shelf import Shelf
from lode.data.table import Table, changed_rows


@pytest.mark.parametrize("num_words", [1, 2, 253, 254, 255, 256, 257, 1000])
def test_any_number_of_words_survives_with_nulls(num_words: int) -> None:
    words = [f"w{index:04d}" for index in range(num_words)]
    texts = pl.Series("x", [*reversed(words), None, words[0]])
    enum = enumerated(texts)
    assert enum.dtype == pl.Enum(words) and enum.cast(pl.String).equals(texts, null_equal=True)
    column = texts.cast(pl.Categorical(pl.Categories.random("test", pl.UInt16)))
    assert cleaned(column, lambda cells: cells).equals(enum, null_equal=True)
    upper = cleaned(column, lambda cells: cells.str.to_uppercase().replace("W0000", None))
    assert upper.cast(pl.String).equals(texts.str.to_uppercase().replace("W0000", None), null_equal=True)
    assert renamed(enum, pl.Series(["same"] * num_words)).cast(pl.String).to_list() == ["same"] * num_words + [None, "same"]
    codes, found = coded(enum)
    assert found == words and codes.tolist()[-2:] == [num_words, 0]


def test_a_very_long_word_stays_a_string() -> None:
    assert enumerated(pl.Series("x", ["a", "b" * 1_001])).dtype == pl.String


def test_too_many_words_stay_strings() -> None:
    texts = pl.Series("x", [f"w{index}" for index in range(10_001)])
    assert enumerated(texts).dtype == pl.String
    assert cleaned(texts.cast(pl.Categorical(pl.Categories.random("test", pl.UInt16))), lambda cells: cells).equals(texts)


@pytest.fixture(params=["memory", "disk"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path, 2_000_000_000)
    if request.param == "disk":
        made.use_disk(8)
        made.batch_rows = 2
    return made


def test_words_are_parsed_once_each_and_rejected_cells_are_found(shelf: Shelf) -> None:
    column = pl.Series("x", ["1", "five", None, "2", "five"], dtype=pl.Enum(["1", "2", "five"]))
    table = Table(pl.DataFrame(), 5, shelf, typed={"x": column})
    bad = table.type_as("x", REGISTRIES["feature"].create(Component("number")), as_words=False)
    assert table.column("x").to_list() == [1.0, None, None, 2.0, None] and bad.tolist() == [1, 4]


def test_texts_are_parsed_batch_by_batch_as_at_once(shelf: Shelf) -> None:
    table = Table(pl.DataFrame({"x": ["1", "five", None, "2", "six"], "w": ["b", "a", "b", None, "a"]}).lazy(), 5, shelf)
    bad = table.type_as("x", REGISTRIES["feature"].create(Component("number")), as_words=False)
    assert table.column("x").to_list() == [1.0, None, None, 2.0, None] and bad.tolist() == [1, 4]
    assert not len(table.type_as("w", REGISTRIES["feature"].create(Component("category")), as_words=True))
    assert table.column("w").dtype == pl.Enum(["a", "b"]) and table.column("w").to_list() == ["b", "a", "b", None, "a"]


def test_dropped_rows_are_in_no_frame(shelf: Shelf) -> None:
    table = Table(pl.DataFrame({"x": [1.0, 2.0, 3.0]}), 3, shelf)
    table.keep[1] = False
    assert pl.concat(table.batches(["x"], table.keep)).to_dict(as_series=False) == {ROW: [0, 2], "x": [1.0, 3.0]}
    assert table.lazy(["x"], np.array([False, True, True])).collect()[ROW].to_list() == [1, 2]
    assert table.kept_column("x").to_list() == [1.0, 3.0] and table.kept_column("x", 1).to_list() == [1.0]
    assert table.gather("x", np.array([0, 2])).to_list() == [1.0, 3.0]


def test_words_that_come_late_are_found_and_those_that_never_come_are_not() -> None:
    words = pl.Series("w", ["b"] * 70_000 + [None, " c"] + ["b"] * 70_000).cast(
        pl.Categorical(pl.Categories.random("late", pl.UInt16))
    )
    found = cleaned(words, lambda column: column.str.strip_chars())
    assert found.dtype == pl.Enum(["b", "c"]) and found.gather([0, 70_000, 70_001]).to_list() == ["b", None, "c"]
    assert coded(words.head(70_001))[1] == ["b"] and coded(words)[1] == [" c", "b"]


def test_changed_cells_are_kept_and_missing_rows_dropped(shelf: Shelf) -> None:
    raw = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "w": ["a", "b", "a", "c", None], "z": [1, 2, 3, 4, 5]})
    table = Table(raw, 5, shelf)
    table.set("w", enumerated(raw["w"]))
    table.keep[0] = False

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        mended = frame.with_columns(
            pl.when(pl.col("x") > 3).then(-1.0).otherwise(pl.col("x")).alias("x"),
            pl.when(pl.col("w") == "c").then(pl.lit("new")).otherwise(pl.col("w")).alias("w"),
        )
        return mended.filter(pl.col("z") != 2)

    found = pl.concat(table.change(["x", "w", "z"], change, table.keep.copy()))
    assert table.keep.tolist() == [False, False, True, True, True]
    assert table.column("x").to_list() == [1.0, 2.0, 3.0, -1.0, -1.0]
    assert table.column("w").dtype == pl.Enum(["a", "b", "new"]) and table.column("w").to_list() == ["a", "b", "a", "new", None]
    assert sorted(found.drop("why").rows()) == sorted(
        [(1, None, None, None), (3, "x", "4.0", "-1.0"), (3, "w", "c", "new"), (4, "x", "5.0", "-1.0")]
    )


def test_words_that_a_cleaner_mends_are_mended_once_each(shelf: Shelf) -> None:
    table = Table(pl.DataFrame({"w": ["a", "b", None, "a"]}), 4, shelf)
    table.set("w", enumerated(table.column("w")))
    mask = table.change_words("w", lambda words: words.replace("a", "z"))
    assert mask is not None and mask.tolist() == [True, False, False, True]
    assert table.column("w").to_list() == ["z", "b", None, "z"]
    assert table.change_words("w", lambda words: words) is None


def test_who_asks_for_a_few_rows_gets_no_more(shelf: Shelf) -> None:
    frame = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]})
    table = Table(frame if not shelf.on_disk else frame.lazy(), 6, shelf)
    rows = table.rows(["x"], np.array([True, False, True, True, True, True]))
    more = changed_rows(rows, lambda batch: batch.with_columns(pl.col("x") + 10))
    for lazy, x in ((rows, 0.0), (more, 10.0)):
        assert lazy.head(2).select("x").collect()["x"].to_list() == [x, x + 2]
        assert lazy.head(3).filter(pl.col("x") > x).collect()["x"].to_list() == [x + 2, x + 3]


def test_a_column_known_to_hold_finite_numbers_is_not_read_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 0, on_disk=True)
    table = Table(pl.DataFrame({"x": [1.0, None], "y": [1.0, np.inf]}), 2, shelf, finite=frozenset({"x"}))
    number = REGISTRIES["feature"].create(Component("number"))
    assert table.type_as("x", number, False).tolist() == []
    assert "x" not in table.typed
    assert table.type_as("y", number, False).tolist() == [1]
    table.set("x", pl.Series("x", [np.inf, 2.0]))
    assert table.type_as("x", number, False).tolist() == [0], "what a cleaner made is looked at"


@pytest.mark.parametrize("dropped", [(), (3, 4, 9)])
def test_columns_that_change_from_the_start_are_written_anew_in_their_places(shelf: Shelf, dropped: tuple[int, ...]) -> None:
    texts = pl.Series("x", [f"${number}" if number % 5 else None for number in range(11)])
    few = pl.Series("y", ["a"] * 7 + ["$b"] * 4)
    raw = pl.DataFrame([texts, few, pl.Series("z", range(11))])
    table = Table(raw.lazy() if shelf.on_disk else raw, 11, shelf)
    patched: list[str] = []
    patch = Table._patch

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        mended = frame.with_columns(pl.col("x", "y").str.strip_prefix("$"))
        return mended.filter(~pl.col("z").is_in(dropped))

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Table, "_patch", lambda self, name, cells: (patched.append(name), patch(self, name, cells))[1])
        told = pl.concat(table.change(["x", "y", "z"], change, table.keep.copy()))
    kept = [row for row in range(11) if row not in dropped]
    assert np.flatnonzero(table.keep).tolist() == kept
    assert table.kept_column("x").to_list() == [str(row) if row % 5 else None for row in kept]
    assert table.kept_column("y").to_list() == ["a" if row < 7 else "b" for row in kept]
    assert told.filter(pl.col("column") == "x")["row"].sort().to_list() == [row for row in kept if row % 5]
    assert ("x" in patched) != shelf.on_disk, "in files the whole column is written, in memory there is no need"
    assert "y" in patched, "its first change comes later"


def test_a_change_that_fails_leaves_no_thread_behind(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 0, on_disk=True, batch_rows=2)
    table = Table(pl.DataFrame({"x": ["$1", "$2", "$3", "oh", "$5"]}).lazy(), 5, shelf)

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        if "oh" in frame["x"]:
            raise ValueError("no number")
        return frame.with_columns(pl.col("x").str.strip_prefix("$"))

    before = threading.active_count()
    with pytest.raises(ValueError, match="no number"):
        list(table.change(["x"], change, table.keep.copy()))
    assert table.column("x").to_list() == ["$1", "$2", "$3", "oh", "$5"]
    deadline_s = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_cleaner_that_gives_another_type_later_is_named(tmp_path: Path) -> None:
    table = Table(pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 5.0]}).lazy(), 5, Shelf(tmp_path, 0, on_disk=True, batch_rows=2))

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("x") * 2 if frame[ROW][0] < 2 else pl.col("x").cast(pl.String))

    with pytest.raises(DataError, match='gave "x" as Float64 and then as String'):
        list(table.change(["x"], change, table.keep.copy()))
