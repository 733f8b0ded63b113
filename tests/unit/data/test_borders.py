"""The proof of a division counts what crosses a border, where something does; rows divided by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.data import borders
from lode.data.split import PARTS, Split
from lode.data.storage.shelf import Shelf
from lode.data.table import Table


def _proved(folder: Path, column: pl.Series, parts: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """parts: a letter for each row: t(rain), v(alidation), e (test), or - for a row in no part."""
    masks = {part: np.array([letter == sign for letter in parts]) for part, sign in zip(PARTS, "tve", strict=True)}
    table = Table(pl.DataFrame(), len(column), Shelf(folder, 10**9), typed={"x": column})
    return borders.prove(table, masks, Split(column="x", **options))


@pytest.mark.parametrize(
    ("moments", "parts", "gap", "overlaps"),
    [
        ([1, 2, 3, 4, 5, 6], "tttvve", None, 0),
        ([1, 2, 5, 4, 6, 7], "tttvve", None, 1),  # 5 stands behind the first row that validates, 4
        ([1, 2, 4, 4, 6, 7], "tttvve", None, 1),  # the same moment is not earlier
        ([1, 2, 9, 4, 6, 7], "t--vve", None, 0),  # 9 was dropped
        ([1, 8, 2, 10, 4, 20], "tttvve", 2, 1),  # 8 is behind 4; 2 lies two before it, as far as asked
        ([1, 2, 3, 10, 19, 20], "tttvve", 2, 1),  # 19 is too near to 20
        ([1, 2, 9, 4, 5, 6], "tttvve", None, 1),  # 9 is one row, though it is behind both other parts
    ],
)
def test_rows_that_are_as_late_as_a_later_part_are_counted(
    tmp_path: Path, moments: list[int], parts: str, gap: int | None, overlaps: int
) -> None:
    record, (told,) = _proved(tmp_path, pl.Series("x", moments, dtype=pl.Float64), parts, by="time", gap=gap)
    assert record["overlaps"] == overlaps
    assert f"; {overlaps} rows are as late as a later part" in told


def test_a_part_without_rows_has_no_border(tmp_path: Path) -> None:
    record, (told,) = _proved(tmp_path, pl.Series("x", [3.0, 1.0, 2.0, 5.0]), "ttte", by="time")
    assert record == {"first": {"train": "1.0", "test": "5.0"}, "last": {"train": "3.0", "test": "5.0"}, "overlaps": 0}
    assert "validation" not in told


def test_groups_that_stand_in_two_parts_are_counted(tmp_path: Path) -> None:
    record, (told,) = _proved(tmp_path, pl.Series("x", ["a", "a", "b", "b", "c", "c", "d", "b"]), "tttvveee", by="group")
    assert record == {"groups": {"train": 2, "validation": 2, "test": 3}, "in_two_parts": 2}, (
        "b is one group, though it is in all three"
    )
    assert told == 'split: groups of "x": 2 in train, 2 in validation, 3 in test; 2 stand in two parts.'
