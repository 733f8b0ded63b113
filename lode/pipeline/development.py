"""The rows that may be learned from (training, then validation), and their arrays for each round of a plan."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import State
from lode.data.folds import FOLD, fold_numbers, rounds
from lode.data.preprocess import Preprocessor
from lode.data.reduce import Reduce
from lode.data.select import Select
from lode.data.snapshot import read as read_part
from lode.data.snapshot import read_unlabelled
from lode.data.split import Split, times
from lode.model.contracts import Examples, Progress, Task
from lode.pipeline import folds
from lode.pipeline.fewer import Share
from lode.pipeline.scoring import values_of
from lode.value.contracts import Outcomes, Policy

_TABLE_FEATURES = frozenset({"number", "category", "binary", "date"})


@dataclass(frozen=True, slots=True)
class Development:
    """Development rows with their encoded targets and the plan by which candidates are judged.

    frame: training rows, then validation rows. targets: per output (N, ...), as its task encodes them. moments: times (N,) where folds
    are by time.
    """

    frame: pl.DataFrame
    train_rows: int
    features: Mapping[str, Component]
    cleaners: Sequence[Component]
    tasks: Mapping[str, Task]
    targets: Mapping[str, np.ndarray]
    plan: folds.Plan
    groups: np.ndarray | None
    seed: int
    select: Select | None = None
    reduce: Reduce | None = None
    moments: np.ndarray | None = None
    learnt: Sequence[State] = ()
    unlabelled: pl.DataFrame | None = None
    crossed: bool = False
    """Whether the file asks for folds, so that cross-validated figures are told."""

    @property
    def first(self) -> str:
        """The output that selects."""
        return next(iter(self.tasks))

    def target_like(self) -> np.ndarray:
        """The first output (N,) as features take it that learn from it: codes of classes, or float32 numbers."""
        found = self.strata
        return found.astype(np.int64 if self.is_classes else np.float32)

    def learning_folds(self, rows: np.ndarray) -> np.ndarray:
        """Folds for features that learn from the target, int64 (N,): a number for these rows, -1 for all others."""
        generator = np.random.default_rng([self.seed, 13])
        groups = None if self.groups is None else self.groups[rows]
        found = np.full(self.frame.height, -1, np.int64)
        found[rows] = folds.fold_numbers(self.strata[rows], self.is_classes, groups, folds.FOLDS, generator)
        return found

    @property
    def is_table(self) -> bool:
        """Whether every input is a column of a table."""
        return is_table(self.features)

    def judged(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The first judged rows: positions (J,), and fold numbers (J,) for choices that are made on them, of at least two folds."""
        rows, fold = self.plan.judged[:num_rows], self.plan.cross_fold[:num_rows]
        if len(np.unique(fold)) > 1 or num_rows < 2:
            return rows, fold
        # Time was enough for one round only: its rows are divided for such choices.
        generator = np.random.default_rng([self.seed, 17])
        groups = None if self.groups is None else self.groups[rows]
        return rows, folds.fold_numbers(self.strata[rows], self.is_classes, groups, min(folds.FOLDS, num_rows), generator)

    @property
    def strata(self) -> np.ndarray:
        """One value a row (N,) by which rows are divided alike: the first output's codes or numbers."""
        return self.tasks[self.first].strata(self.targets[self.first])

    @property
    def is_classes(self) -> bool:
        """Whether `strata` are codes."""
        return bool(self.strata.dtype.kind in "iu")


@contextmanager
def _of_output(name: str) -> Iterator[None]:
    """A task does not know the name of its output: errors get it here."""
    try:
        yield
    except DataError as error:
        raise DataError(f"outputs.{name}: {str(error).removeprefix('output: ')}") from error


def read(
    snapshot: Path, features: Mapping[str, Component], cleaners: Sequence[Component], outputs: Mapping[str, Component],
    split: Mapping[str, Any], seed: int, select: Select | None = None, reduce: Reduce | None = None,
    learnt: Sequence[State] = (), cross: int | None = None, told: bool = False, share: Share | None = None,
) -> Development:  # fmt: skip
    """Read the development rows of a snapshot and make the plan. learnt: see `Preprocessor`.

    cross: judge out of so many folds of the split's own kind, whatever the number of rows (`evaluate.folds`, an ensemble's `folds`).
    told: the file asks for figures of the folds. share: of the rows, as if there were no others; the outputs' classes stay known.
    """
    train, validation = (read_part(snapshot, name) for name in ("train", "validation"))
    frame = pl.concat([train, validation], how="vertical")
    tasks: dict[str, Task] = {}
    targets = {}
    for name, component in outputs.items():
        with _of_output(name):
            task = tasks[name] = REGISTRIES["task"].create(component)
            task.fit(values_of(task, name, train))
        targets[name] = task.encode(values_of(task, name, frame))
    first, division = next(iter(tasks)), Split(**split)
    train_rows = train.height
    if share is not None:
        frame, train_rows = _fewer(frame, train_rows, share, tasks[first], targets[first], division)
        targets = {name: task.encode(values_of(task, name, frame)) for name, task in tasks.items()}
    tables = is_table(features)
    few = frame.height - train_rows < folds.MIN_HOLDOUT_ROWS or frame.estimated_size() <= folds.SMALL_BYTES
    # Rows in time order must be judged by later rows only, which a shuffle into folds would break.
    small = (few or (tables and frame.height <= folds.SMALL_ROWS)) and split.get("by") != "time"
    groups = folds.group_values(frame, split)
    if cross is not None and FOLD not in frame.columns:
        division = replace(division, folds=min(cross, frame.height))
        words = {name: component.type for name, component in outputs.items()}
        frame = frame.with_columns(pl.Series(FOLD, fold_numbers(frame, division, words, [])))
    given = rounds(frame, division) if FOLD in frame.columns else None
    moments = times(frame[str(division.column)]) if division.by == "time" and given is not None else None
    strata = tasks[first].strata(targets[first])
    classes = strata.dtype.kind in "iu"
    plan = folds.plan(train_rows, frame.height - train_rows, strata, classes, small, groups, seed, given, moments)
    return Development(
        frame, train_rows, features, cleaners, tasks, targets, plan, groups, seed, select, reduce, moments, tuple(learnt),
        read_unlabelled(snapshot), told,
    )  # fmt: skip


def _fewer(
    frame: pl.DataFrame, train_rows: int, share: Share, task: Task, target: np.ndarray, division: Split
) -> tuple[pl.DataFrame, int]:
    """Whole groups are kept, of the split or of the task: half of a list to rank is another list."""
    strata = task.strata(target)
    column = division.column if division.by == "group" else task.group
    groups = None if column is None else frame[column].cast(pl.String).fill_null("").rank("dense").to_numpy()
    moments = times(frame[str(division.column)]) if division.by == "time" else None
    rows, kept = share.rows(train_rows, strata, strata.dtype.kind in "iu", groups, moments)
    return frame[rows], kept


def is_table(features: Mapping[str, Component]) -> bool:
    """Whether every input is a column of a table."""
    return all(component.type in _TABLE_FEATURES for component in features.values())


@dataclass(slots=True)
class Prepared:
    """Arrays of all development rows under one fitted preprocessor; made when asked for, decoded once.

    folds: (N,), negative for rows that the preprocessor did not learn from; None where no feature learns from the target.
    """

    development: Development
    preprocessor: Preprocessor
    folder: Path | None
    progress: Progress
    folds: np.ndarray | None = None
    _arrays: Mapping[str, np.ndarray] | None = field(default=None, repr=False)
    _flat: Any = field(default=None, repr=False)
    _unlabelled: Examples | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def examples(self, needs: str, rows: np.ndarray) -> Examples:
        """The rows at these positions with their targets; a run of rows is a view, not a copy. Two threads may ask."""
        with self._lock:
            self._make(needs)
        pick = slice(int(rows[0]), int(rows[-1]) + 1) if _contiguous(rows) else rows
        arrays = {name: array[pick] for name, array in self._arrays.items()} if needs == "arrays" and self._arrays else {}
        flat = self._flat[pick] if needs == "flat" else None
        return Examples(len(rows), arrays, flat, {name: array[pick] for name, array in self.development.targets.items()})

    def unlabelled(self) -> Examples | None:
        """Arrays of the rows without a label, for pretraining; None where there are none."""
        frame = self.development.unlabelled
        if frame is None or not frame.height:
            return None
        with self._lock:
            if self._unlabelled is None:
                self._unlabelled = Examples(frame.height, self.preprocessor.arrays(frame), None)
            return self._unlabelled

    def release(self) -> None:
        """Let the arrays go; they are made again when they are asked for."""
        with self._lock:
            self._arrays, self._flat, self._unlabelled = None, None, None

    def _make(self, needs: str) -> None:
        frame = self.development.frame
        if needs == "arrays" and self._arrays is None:
            if self.folder is None:
                self._arrays = self.preprocessor.arrays(frame, self.folds)
            else:
                self._arrays = self.preprocessor.write_arrays(frame, self.folder, self.progress, folds=self.folds)
        if needs == "flat" and self._flat is None:
            self._flat = self.preprocessor.flat(frame, self.folds)


def prepare(development: Development, rows: np.ndarray, folder: Path | None, progress: Progress) -> Prepared:
    """Fit cleaners and features on these rows, ready to transform all."""
    preprocessor = Preprocessor(
        development.features, development.cleaners, select=development.select, reduce=development.reduce, learnt=development.learnt
    )
    frame = development.frame
    subset = frame if len(rows) == frame.height else frame[rows]
    target = development.target_like()[rows]
    fold = development.learning_folds(rows) if preprocessor.learns_target else None
    preprocessor.fit(subset, target, None if fold is None else fold[rows])
    return Prepared(development, preprocessor, folder, progress, fold)


def outcomes(frame: pl.DataFrame, policy: Policy, prediction: np.ndarray, truth: np.ndarray) -> Outcomes:
    """What a policy reads; its money columns as exact Decimals. Errors: DataError naming the cells that are no amount."""
    columns = {}
    for name in policy.columns:
        if name not in frame.columns:
            raise DataError(f'value: column "{name}" is not in the data. Name a column, or give an amount.')
        columns[name] = np.array([_amount(cell, name) for cell in frame[name].cast(pl.String).to_list()], dtype=object)
    return Outcomes(prediction.astype(np.float64), truth, columns)


def _amount(cell: str | None, column: str) -> Decimal:
    try:
        amount = Decimal((cell or "").strip())
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise DataError(
            f'value: column "{column}" holds {cell!r}, an amount of money is needed in every row. Clean the column, or drop those rows.'
        )
    return amount


def _contiguous(rows: np.ndarray) -> bool:
    return bool(len(rows)) and int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool(np.all(np.diff(rows) == 1))
