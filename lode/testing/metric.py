"""The contract suite of metrics: `check_metric(make, task)` for each file in lode/model/metrics, and for others.

Read `lode.model.contracts.Metric` first: every check below is one of its sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from lode.model.contracts import Metric

TaskWord = Literal["binary", "multiclass", "number"]


def check_metric(make: Callable[[], Metric], task: TaskWord) -> None:
    """Everything below. make: an empty metric; task: what its predictions are of."""
    prediction, target = rows(task)
    check_parts_equal_the_whole(make, prediction, target)
    check_weights_are_counts(make, prediction, target)
    check_missing_targets_are_left_out(make, prediction, target)
    check_better_is_better(make, task)
    check_no_rows_are_undefined(make, task)


def rows(task: TaskWord, num_rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with ties and targets of a task."""
    generator = np.random.default_rng(seed)
    if task == "number":
        target = generator.normal(size=num_rows)
        return target + generator.normal(size=num_rows), target
    if task == "binary":
        prediction = generator.integers(0, 20, num_rows) / 19
        return prediction, (generator.random(num_rows) < 0.2 + 0.6 * prediction).astype(np.int64)
    prediction = generator.dirichlet(np.ones(4), num_rows)
    return prediction, np.array([generator.choice(4, p=row) for row in prediction])


def check_parts_equal_the_whole(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """Rows may come in any number of updates."""
    whole, parts = make(), make()
    whole.update(prediction, target)
    for part in np.array_split(np.arange(len(target)), 7):
        parts.update(prediction[part], target[part])
    assert isinstance(whole.compute(), float)
    assert math.isclose(whole.compute(), parts.compute(), rel_tol=1e-12)


def check_weights_are_counts(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """A row of weight 3 counts like three rows, one of weight 0 like none."""
    weight = np.random.default_rng(1).integers(0, 4, len(target))
    weight[prediction == prediction.max() if prediction.ndim == 1 else slice(0, 3)] = 0
    weighted, repeated = make(), make()
    weighted.update(prediction, target, weight.astype(np.float64))
    repeated.update(np.repeat(prediction, weight, axis=0), np.repeat(target, weight))
    assert math.isclose(weighted.compute(), repeated.compute(), rel_tol=1e-9)


def check_missing_targets_are_left_out(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """A target of -1 or NaN is neither right nor wrong."""
    without, marked = make(), make()
    without.update(prediction[5:], target[5:])
    missing = target.copy()
    missing[:5] = -1 if np.issubdtype(target.dtype, np.integer) else np.nan
    marked.update(prediction, missing)
    assert math.isclose(without.compute(), marked.compute(), rel_tol=1e-12)


def check_better_is_better(make: Callable[[], Metric], task: TaskWord) -> None:
    """`higher_is_better` says truly which way is up."""
    prediction, target = rows(task)
    perfect = np.eye(4)[target] if task == "multiclass" else target.astype(np.float64)
    good, bad = make(), make()
    good.update(perfect, target)
    bad.update(prediction, target)
    assert (good.compute() > bad.compute()) == good.higher_is_better


def check_no_rows_are_undefined(make: Callable[[], Metric], task: TaskWord) -> None:
    """Nothing to measure is NaN, not an error and not a zero."""
    prediction, target = rows(task)
    empty, updated = make(), make()
    updated.update(prediction[:0], target[:0])
    assert math.isnan(empty.compute()) and math.isnan(updated.compute())
