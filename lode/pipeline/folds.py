"""Which rows fit a model, which ones stop it, and which ones judge it: never the same rows.

Much data: the validation split is divided in two, one part stops, the other judges. Little data (where a fit is cheap):
out of fold, every development row is judged by a model that saw neither it nor its group. What is chosen afterwards on the judged
rows (a temperature, a threshold) is chosen out of fold again (`cross_fold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError

FOLDS = 5
SMALL_ROWS = 10_000
"""Development rows up to which tables are judged out of fold."""
_STOP_SHARE = 0.125
SMALL_BYTES = 2**20
"""Development rows of any kind are judged out of fold up to this size: a fit of so few pictures or texts is cheap too."""
MAX_CROSS_FOLDS = 20
"""More folds than that are put together for choices that are made on the judged rows."""
MIN_HOLDOUT_ROWS = 32
"""Validation rows below which no half of them can stop training, or judge it."""


@dataclass(frozen=True, slots=True)
class Round:
    """One fit: positions in the development rows (int64)."""

    fit: np.ndarray
    stop: np.ndarray
    judge: np.ndarray


@dataclass(frozen=True, slots=True)
class Plan:
    """How candidates are judged. kind: "out of fold" or "holdout"; judged: positions of all judged rows, in the order of the rounds.

    cross_fold: a fold number for each judged row, for choices that are made on the judged rows themselves.
    """

    kind: str
    rounds: tuple[Round, ...]
    judged: np.ndarray
    cross_fold: np.ndarray


def plan(
    train_rows: int, validation_rows: int, target: np.ndarray, classes: bool, small: bool, groups: np.ndarray | None, seed: int,
    given: Sequence[tuple[np.ndarray, np.ndarray]] | None = None, moments: np.ndarray | None = None,
) -> Plan:  # fmt: skip
    """Divide the development rows (the training rows, then the validation rows).

    target: codes or numbers of the first output (N,). classes: whether to keep their shares equal. small: out of fold is affordable.
    groups: rows of one group stay together (N,), or None. given: (rows to learn from, rows to judge) of each fold that the file asks
    for. moments: times (N,) where the split is by time: then the latest rows stop.
    """
    generator = np.random.default_rng([seed, 7])
    if given is not None:
        rounds = [Round(*cut_stop(learn, target, classes, groups, generator, moments), judge) for learn, judge in given]
        judged = np.concatenate([part.judge for part in rounds])
        number = np.repeat(np.arange(len(rounds)), [len(part.judge) for part in rounds])
        # Folds of a row or two: what is chosen on the judged rows is chosen out of a few larger folds.
        return Plan("out of fold", tuple(rounds), judged, number % FOLDS if len(rounds) > MAX_CROSS_FOLDS else number)
    if small:
        fold = fold_numbers(target, classes, groups, min(FOLDS, len(target)), generator)
        rounds = []
        for drawn in range(int(fold.max()) + 1):
            fit, stop = cut_stop(np.flatnonzero(fold != drawn), target, classes, groups, generator)
            rounds.append(Round(fit, stop, np.flatnonzero(fold == drawn)))
        judged = np.concatenate([part.judge for part in rounds])
        return Plan("out of fold", tuple(rounds), judged, fold[judged])
    everything = np.arange(train_rows + validation_rows)
    fit, held = everything[:train_rows], everything[train_rows:]
    if len(held) < MIN_HOLDOUT_ROWS:
        raise DataError(
            f"data.split.validation: {len(held)} validation rows, at least {MIN_HOLDOUT_ROWS} are needed to stop training and to judge "
            "it. Give a larger share, or more rows."
        )
    part = fold_numbers(target[held], classes, None if groups is None else groups[held], 2, generator)
    stop, judge = held[part == 0], held[part == 1]
    if not len(stop) or not len(judge):
        raise DataError("data.split: all validation rows are of one group. Give a larger share, or more groups.")
    cross = fold_numbers(target[judge], classes, None if groups is None else groups[judge], FOLDS, generator)
    return Plan("holdout", (Round(fit, stop, judge),), judge, cross)


def cut_stop(
    rows: np.ndarray, target: np.ndarray, classes: bool, groups: np.ndarray | None, generator: np.random.Generator,
    moments: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Divide rows into those that fit and those that stop (an eighth; by time the latest). Errors: DataError for a single group."""
    if moments is not None:
        order = rows[np.argsort(moments[rows], kind="stable")]
        cut = len(rows) - max(1, round(len(rows) * _STOP_SHARE)) if len(rows) > 1 else 1
        return np.sort(order[:cut]), np.sort(order[cut:])
    if groups is not None and len(np.unique(groups[rows])) < 2:
        raise DataError(
            f"data.split: {len(np.unique(groups))} groups are left for training, at least 3 are needed: one each to learn from, to stop "
            "and to judge. Take another column, or another split."
        )
    part = fold_numbers(target[rows], classes, None if groups is None else groups[rows], round(1 / _STOP_SHARE), generator)
    return rows[part != 0], rows[part == 0]


def fold_numbers(
    target: np.ndarray, classes: bool, groups: np.ndarray | None, folds: int, generator: np.random.Generator
) -> np.ndarray:
    """A fold number from 0 to folds - 1 for each row, int64 (N,): equal sizes, equal shares of each class, groups kept together."""
    if groups is not None:
        names, codes = np.unique(groups, return_inverse=True)
        return (generator.permutation(len(names)) % folds)[codes]
    numbers = np.empty(len(target), np.int64)
    order = generator.permutation(len(target))
    # Dealing rows out class by class (numbers: by size) gives every fold the same shares; the shuffle before decides who goes where.
    keys = target[order]
    order = order[np.argsort(keys, kind="stable")] if classes or len(np.unique(keys)) > folds else order
    numbers[order] = np.arange(len(target)) % folds
    return numbers


def group_values(frame: pl.DataFrame, split: Mapping[str, Any]) -> np.ndarray | None:
    """The group of each row where the split is by group, as codes (N,)."""
    if split.get("by") != "group":
        return None
    return frame[split["column"]].cast(pl.String).fill_null("").rank("dense").to_numpy()
