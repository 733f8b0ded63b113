"""The rows that may be learned from (training, then validation), and their arrays for each round of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import State
from lode.data.folds import FOLD, rounds
from lode.data.preprocess import Preprocessor
from lode.data.reduce import Reduce
from lode.data.select import Select
from lode.data.snapshot import read as read_part
from lode.data.split import Split, times
from lode.model.contracts import Examples, Progress, Task
from lode.pipeline import folds
from lode.value.contracts import Outcomes, Policy

_TABLE_FEATURES = frozenset({"number", "category", "binary", "date"})


@dataclass(frozen=True, slots=True)
class Development:
    """Development rows with their encoded targets and the plan by which candidates are judged.

    frame: training rows, then validation rows. targets: per output (N,), as its task encodes them. moments: times (N,) where folds
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

    @property
    def first(self) -> str:
        """The output that selects."""
        return next(iter(self.tasks))

    def target_like(self) -> np.ndarray:
        """The first output (N,) as features take it that learn from it: codes of classes, or float32 numbers."""
        return self.targets[self.first].astype(np.int64 if self._classes else np.float32)

    def learning_folds(self, rows: np.ndarray) -> np.ndarray:
        """Folds for features that learn from the target, int64 (N,): a number for these rows, -1 for all others."""
        generator = np.random.default_rng([self.seed, 13])
        groups = None if self.groups is None else self.groups[rows]
        found = np.full(self.frame.height, -1, np.int64)
        found[rows] = folds.fold_numbers(self.targets[self.first][rows], self._classes, groups, folds.FOLDS, generator)
        return found

    @property
    def _classes(self) -> bool:
        return self.tasks[self.first].kind == "classes"


def read(
    snapshot: Path, features: Mapping[str, Component], cleaners: Sequence[Component], outputs: Mapping[str, Component],
    split: Mapping[str, Any], seed: int, select: Select | None = None, reduce: Reduce | None = None,
    learnt: Sequence[State] = (),
) -> Development:  # fmt: skip
    """Read the development rows of a snapshot and make the plan. learnt: see `Preprocessor`."""
    train, validation = (read_part(snapshot, name) for name in ("train", "validation"))
    frame = pl.concat([train, validation], how="vertical")
    tasks: dict[str, Task] = {name: REGISTRIES["task"].create(component) for name, component in outputs.items()}
    targets = {}
    for name, task in tasks.items():
        task.fit(target_values(train, name))
        targets[name] = task.encode(target_values(frame, name))
    first = next(iter(tasks))
    tables = all(component.type in _TABLE_FEATURES for component in features.values())
    few = validation.height < folds.MIN_HOLDOUT_ROWS or frame.estimated_size() <= folds.SMALL_BYTES
    # Rows in time order must be judged by later rows only, which a shuffle into folds would break.
    small = (few or (tables and frame.height <= folds.SMALL_ROWS)) and split.get("by") != "time"
    groups = folds.group_values(frame, split)
    division = Split(**split)
    given = rounds(frame, division) if FOLD in frame.columns else None
    moments = times(frame[str(division.column)]) if division.by == "time" and given is not None else None
    classes = tasks[first].kind == "classes"
    plan = folds.plan(train.height, validation.height, targets[first], classes, small, groups, seed, given, moments)
    return Development(
        frame, train.height, features, cleaners, tasks, targets, plan, groups, seed, select, reduce, moments, tuple(learnt)
    )


def target_values(frame: pl.DataFrame, name: str) -> np.ndarray:
    """A target column as its task takes it: objects (N,), None where missing."""
    column = frame[name]
    return column.to_numpy() if column.dtype.is_float() and not column.null_count() else np.array(column.to_list(), dtype=object)


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

    def examples(self, needs: str, rows: np.ndarray) -> Examples:
        """The rows at these positions with their targets; a run of rows is a view, not a copy."""
        frame = self.development.frame
        if needs == "arrays" and self._arrays is None:
            if self.folder is None:
                self._arrays = self.preprocessor.arrays(frame, self.folds)
            else:
                self._arrays = self.preprocessor.write_arrays(frame, self.folder, self.progress, folds=self.folds)
        if needs == "flat" and self._flat is None:
            self._flat = self.preprocessor.flat(frame, self.folds)
        pick = slice(int(rows[0]), int(rows[-1]) + 1) if _contiguous(rows) else rows
        arrays = {name: array[pick] for name, array in self._arrays.items()} if needs == "arrays" and self._arrays else {}
        flat = self._flat[pick] if needs == "flat" else None
        return Examples(len(rows), arrays, flat, {name: array[pick] for name, array in self.development.targets.items()})


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
