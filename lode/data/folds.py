"""Folds that the file asks for (`data.split.folds`): which rows a model learns from and which ones it is judged on.

The data stage writes a fold number beside every training and validation row; `rounds` makes of them what the train stage does. Read
lode/data/split.py first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.data.split import Split, dense_codes, gap_of, groups, strata, times

FOLD = "__fold__"
"""The snapshot's column of fold numbers (UInt32)."""
MAX_EACH = 5_000
"""So many folds of one row (or group) at most: each is a fit of every candidate."""


def asked(split: Split) -> bool:
    """Whether the file asks for folds."""
    return split.folds is not None or split.fold_column is not None


def fold_numbers(frame: pl.DataFrame, split: Split, targets: Mapping[str, str], notes: list[str]) -> np.ndarray:
    """uint32 (N,): the fold of each development row. frame: those rows, with the columns that the split needs.

    By time, fold 0 is the earliest and is only learned from. Errors: DataError where there are too few rows, groups or moments.
    """
    if split.fold_column is not None:
        return _given(frame[split.fold_column], notes)
    if split.by == "time":
        return _of_times(times(frame[str(split.column)]), split, notes)
    if split.by == "group":
        codes = groups(frame[str(split.column)])
        return _dealt(codes, int(codes.max()) + 1, split, "groups", notes)
    if split.folds == "each":
        return _dealt(np.arange(frame.height), frame.height, split, "rows", notes)
    by_class = strata(frame, replace(split, by="random"), targets, [])
    order = np.random.default_rng([split.seed, 5]).permutation(frame.height)
    # Dealing rows out class by class gives every fold the same shares; the shuffle before decides who goes where.
    order = order[np.argsort(by_class[order], kind="stable")]
    numbers = np.empty(frame.height, dtype=np.uint32)
    numbers[order] = np.arange(frame.height) % _count(split, frame.height, "rows")
    return numbers


def rounds(frame: pl.DataFrame, split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows to learn from, rows to judge), int64 positions, per fold. frame: development rows with `__fold__`."""
    numbers = frame[FOLD].to_numpy()
    if split.by != "time" or split.fold_column is not None:
        return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in np.unique(numbers)]
    moments, gap = times(frame[str(split.column)]), gap_of(split, frame[str(split.column)])
    found = []
    for fold in range(1, int(numbers.max()) + 1):
        judge = np.flatnonzero(numbers == fold)
        learn = numbers < fold if split.window == "expanding" else numbers == fold - 1
        learn = np.flatnonzero(learn & (moments <= moments[judge].min() - gap))
        if not len(learn):
            raise DataError(f"data.split.gap: fold {fold} has no rows to learn from after a gap of {split.gap}. Make it shorter.")
        found.append((learn, judge))
    return found


def _count(split: Split, available: int, what: str) -> int:
    """How many folds. Errors: DataError where there are fewer rows or groups than folds, or too many for "each"."""
    if split.folds == "each":
        if available > MAX_EACH:
            raise DataError(
                f'data.split.folds: found "each" for {available:,} {what}, each would be a fit of every candidate; allowed: up to '
                f"{MAX_EACH:,}. Write a number, for example 10."
            )
        return available
    count = int(split.folds or 0)
    if count > available:
        raise DataError(
            f"data.split.folds: found {count}, allowed: at most {available:,}, for so many {what} there are. Write fewer."
        )
    return count


def _dealt(codes: np.ndarray, available: int, split: Split, what: str, notes: list[str]) -> np.ndarray:
    """Whole groups dealt out in a random order, the largest first, always to the fold that has fewest rows."""
    count = _count(split, available, what)
    sizes = np.bincount(codes, minlength=available)
    shuffled = np.random.default_rng([split.seed, 5]).permutation(available)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    if count == available:
        numbers = np.argsort(order)
    else:
        numbers, loads = np.empty(available, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for group in order:
            fold = int(np.argmin(loads))
            numbers[group], loads[fold] = fold, loads[fold] + sizes[group]
    notes.append(f"split: {count:,} folds of {available:,} {what} judge the candidates.")
    return numbers[codes].astype(np.uint32)


def _of_times(moments: np.ndarray, split: Split, notes: list[str]) -> np.ndarray:
    """Blocks of equal numbers of rows, one more than folds; rows of one moment stay together."""
    different = np.unique(moments)
    count = len(different) - 1 if split.folds == "each" else int(split.folds or 0)
    if split.folds == "each":
        _count(split, count, "moments")
    if count < 1 or len(different) < count + 1:
        raise DataError(
            f"data.split.folds: found {split.folds}, allowed: at most {max(len(different) - 1, 0)}, for there are {len(different)} "
            "moments. Write fewer."
        )
    ordered = np.sort(moments)
    edges = np.unique(ordered[(np.arange(1, count + 1) * len(ordered)) // (count + 1)])
    edges = edges[edges > different[0]]
    if len(edges) < count:
        notes.append(f"split: {len(edges)} instead of {count} folds, for many rows are of one moment.")
    notes.append(
        f"split: {len(edges)} folds by time judge the candidates, each by models of the rows before it ({split.window} window)."
    )
    return np.searchsorted(edges, moments, side="right").astype(np.uint32)


def _given(column: pl.Series, notes: list[str]) -> np.ndarray:
    if column.has_nulls():
        raise DataError(
            f'data.split.fold_column: {column.null_count():,} cells of "{column.name}" are empty. Fill them, or drop these rows.'
        )
    codes, _ = dense_codes(column)
    found = np.unique(codes)
    if not 2 <= len(found) <= MAX_EACH:
        raise DataError(
            f'data.split.fold_column: "{column.name}" has {len(found):,} values, allowed: 2 to {MAX_EACH:,}. Name another column.'
        )
    notes.append(f'split: {len(found)} folds judge the candidates, as "{column.name}" says.')
    return np.searchsorted(found, codes).astype(np.uint32)
