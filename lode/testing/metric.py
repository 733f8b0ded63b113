"""The contract suite of metrics: `check_metric(make, task)` for each file in lode/model/metrics, and for others.

Read `lode.model.contracts.Metric` first: every check below is one of its sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from lode.model.bootstrap import figure, intervals
from lode.model.contracts import Metric

TaskWord = Literal["binary", "multiclass", "number", "quantiles", "multilabel", "tagging", "anomaly", "embedding", "ranking"]


def check_metric(make: Callable[[], Metric], task: TaskWord) -> None:
    """Everything below. make: an empty metric; task: what its predictions are of."""
    prediction, target = rows(task)
    if task not in ("embedding", "ranking"):  # a row twice is its own neighbour, and a group may not be half there
        check_weights_are_counts(make, prediction, target)
    check_units_make_the_figure(make, prediction, target)
    check_missing_targets_are_left_out(make, prediction, target)
    check_better_is_better(make, task)
    check_no_rows_are_undefined(make, task)


def rows(task: TaskWord, num_rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with ties and targets of a task."""
    generator = np.random.default_rng(seed)
    target: np.ndarray
    if task == "number":
        target = generator.normal(size=num_rows)
        return target + generator.normal(size=num_rows), target
    if task == "quantiles":
        target = generator.normal(size=num_rows)
        spread = np.sort(target[:, None] + generator.normal(size=(num_rows, 3)), axis=1)
        return spread, np.column_stack([target, np.tile([0.1, 0.5, 0.9], (num_rows, 1))])
    if task == "multilabel":
        prediction = generator.random((num_rows, 3))
        return prediction, (generator.random((num_rows, 3)) < prediction).astype(np.float32)
    if task == "tagging":
        marks = np.array([(0, 0, -1), (1, 1, 0), (2, 2, 0), (3, 1, 1), (-1, -1, -1)])
        target = generator.integers(0, 4, (num_rows, 5))
        prediction = np.where(generator.random((num_rows, 5)) < 0.7, target, generator.integers(0, 4, (num_rows, 5)))
        target[:, 4] = np.where(generator.random(num_rows) < 0.5, -1, target[:, 4])
        return marks[prediction].astype(np.float64), marks[target]
    if task == "embedding":
        target = generator.integers(0, 20, num_rows)
        vectors = np.eye(20)[target] + generator.normal(0, 0.4, (num_rows, 20))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), target
    if task == "ranking":
        relevance = generator.integers(0, 3, num_rows) * (generator.random(num_rows) < 0.4)
        target = np.column_stack([relevance, np.arange(num_rows) // 20, relevance > 0]).astype(np.float64)
        return target[:, 0] + generator.normal(0, 1.5, num_rows), target
    if task in ("binary", "anomaly"):
        prediction = generator.integers(0, 20, num_rows) / 19
        return prediction, (generator.random(num_rows) < 0.2 + 0.6 * prediction).astype(np.int64)
    prediction = generator.dirichlet(np.ones(4), num_rows)
    return prediction, np.array([generator.choice(4, p=row) for row in prediction])


def _perfect(task: TaskWord, target: np.ndarray) -> np.ndarray:
    """Predictions without a mistake."""
    if task == "multiclass":
        return np.eye(4)[target]
    if task == "embedding":
        return np.eye(20)[target]
    if task == "quantiles":
        return np.tile(target[:, :1], (1, target.shape[1] - 1))
    return target[:, 0] if task == "ranking" else target.astype(np.float64)


def check_units_make_the_figure(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """Where a metric has units, their sums give what all rows give."""
    units = make().units(prediction, target)
    if units is not None:
        assert math.isclose(make().of(units.sum(axis=0)), figure(make, prediction, target), rel_tol=1e-9)


def check_weights_are_counts(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """A row of weight 3 counts like three rows, one of weight 0 like none."""
    weight = np.random.default_rng(1).integers(0, 4, len(target))
    weight[prediction == prediction.max() if prediction.ndim == 1 else slice(0, 3)] = 0
    repeated = figure(make, np.repeat(prediction, weight, axis=0), np.repeat(target, weight, axis=0))
    assert math.isclose(figure(make, prediction, target, weight.astype(np.float64)), repeated, rel_tol=1e-9)


def check_missing_targets_are_left_out(make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray) -> None:
    """A target of -1 or NaN is neither right nor wrong, also for the interval."""
    missing = target.copy()
    missing[:5] = -1 if np.issubdtype(target.dtype, np.integer) else np.nan  # the whole row where it has several entries
    without, marked = (intervals(make, *pair, resamples=5) for pair in ((prediction[5:], target[5:]), (prediction, missing)))
    assert np.allclose(without, marked, rtol=1e-12, atol=0.0, equal_nan=True)


def check_better_is_better(make: Callable[[], Metric], task: TaskWord) -> None:
    """`higher_is_better` says truly which way is up."""
    prediction, target = rows(task)
    better = figure(make, _perfect(task, target), target) > figure(make, prediction, target)
    assert better == make().higher_is_better


def check_no_rows_are_undefined(make: Callable[[], Metric], task: TaskWord) -> None:
    """Nothing to measure is NaN, not an error and not a zero."""
    prediction, target = rows(task)
    assert math.isnan(figure(make, prediction[:0], target[:0]))
