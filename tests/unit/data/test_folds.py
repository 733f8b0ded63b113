"""Folds that the file asks for: no group, no later time and no row stands on both sides."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.data.folds import FOLD, MAX_EACH, fold_numbers, rounds
from lode.data.split import DROPPED, TEST, TRAIN, VALIDATION, Split, assign_codes

TARGETS = {"y": "binary"}


def frame(num_rows: int = 120) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    days = [date(2024, 1, 1) + timedelta(days=int(day)) for day in np.sort(rng.integers(0, 90, num_rows))]
    groups = rng.integers(0, 30, num_rows).astype(str)
    return pl.DataFrame({"day": days, "who": groups, "y": rng.choice(["a", "b", "b"], num_rows), "part": np.arange(num_rows) % 3})


def divided(rows: pl.DataFrame, split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    numbers = fold_numbers(rows, split, TARGETS, [])
    return rounds(rows.with_columns(pl.Series(FOLD, numbers)), split)


@pytest.mark.parametrize(
    "split", [Split(folds=4), Split(folds="each"), Split(by="group", column="who", folds=5), Split(fold_column="part")]
)
def test_every_row_is_judged_once_by_rows_of_other_folds(split: Split) -> None:
    rows = frame()
    found = divided(rows, split)
    assert sorted(np.concatenate([judge for _, judge in found]).tolist()) == list(range(rows.height))
    for learn, judge in found:
        assert not set(learn) & set(judge) and len(learn) + len(judge) == rows.height


def test_folds_have_equal_sizes_and_equal_shares_of_the_classes() -> None:
    rows = frame()
    share = (rows["y"] == "a").mean()
    found = divided(rows, Split(folds=4))
    assert len(found) == 4
    for _, judge in found:
        assert len(judge) == 30 and abs((rows["y"].gather(judge) == "a").mean() - float(share or 0)) < 0.04


def test_no_group_stands_on_both_sides() -> None:
    rows = frame()
    for split in (Split(by="group", column="who", folds=5), Split(by="group", column="who", folds="each")):
        found = divided(rows, split)
        for learn, judge in found:
            assert not set(rows["who"].gather(learn)) & set(rows["who"].gather(judge))
    assert len(found) == rows["who"].n_unique()


@pytest.mark.parametrize("window", ["expanding", "sliding"])
def test_only_earlier_rows_teach_and_the_gap_is_kept(window: str) -> None:
    rows = frame()
    found = divided(rows, Split(by="time", column="day", folds=4, window=window, gap="5d"))  # type: ignore[arg-type]
    assert len(found) == 4
    sizes = []
    for learn, judge in found:
        last, first = rows["day"].gather(learn).max(), rows["day"].gather(judge).min()
        assert first - last >= timedelta(days=5)  # type: ignore[operator]
        sizes.append(len(learn))
    assert (sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]) if window == "expanding" else sizes[-1] < 2 * sizes[0]


def test_rows_in_the_gap_between_the_parts_are_dropped() -> None:
    rows = frame()
    codes = assign_codes(rows, Split(by="time", column="day", gap="7d"), TARGETS, [])
    days = rows["day"].to_numpy()
    assert (codes == DROPPED).any()
    for earlier, later in ((TRAIN, VALIDATION), (VALIDATION, TEST), (TRAIN, TEST)):
        assert days[codes == later].min() - days[codes == earlier].max() >= np.timedelta64(7, "D")


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    rows = frame()
    first, again, other = (fold_numbers(rows, Split(folds=4, seed=seed), TARGETS, []) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(folds=121), "allowed: at most 120, for so many rows there are"),
        (Split(by="group", column="who", folds=31), "allowed: at most 30, for so many groups there are"),
        (Split(by="time", column="day", folds=90), "moments. Write fewer."),
        (Split(by="time", column="day", folds=4, gap="60d"), "has no rows to learn from after a gap of 60d"),
        (Split(by="time", column="day", folds=4, gap=3), 'allowed for "day": a span such as 90s'),
        (Split(fold_column="y"), ""),
    ],
)
def test_folds_that_cannot_be_are_refused_with_what_can(split: Split, message: str) -> None:
    if not message:
        assert len(divided(frame(), split)) == 2
        return
    with pytest.raises(DataError) as caught:
        divided(frame(), split)
    assert message in str(caught.value)


def test_leaving_out_each_of_very_many_rows_is_refused() -> None:
    with pytest.raises(DataError, match='found "each" for 5,001 rows'):
        fold_numbers(frame(MAX_EACH + 1), Split(folds="each"), TARGETS, [])
