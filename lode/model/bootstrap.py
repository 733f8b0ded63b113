"""Bootstrap intervals of any metric: rows are drawn with replacement, again and again, as whole-number weights.

A resample gives every row the number of times it was drawn. Rows are sorted by prediction once, so that rank metrics sort
nothing in the loop. The same seed draws the same rows, so intervals of several models on the same rows can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lode.core.registry import REGISTRIES
from lode.model.contracts import Metric
from lode.model.rows import known

LEVEL = 0.95


class Interval(NamedTuple):
    """A figure and its 95 % percentile interval; low and high are NaN where no resample defines the figure."""

    value: float
    low: float
    high: float


def figure(
    metric: str | Callable[[], Metric], prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """The metric over these rows; NaN where it is undefined. metric: a word of lode/model/metrics or a Metric class.

    prediction, target: shapes as the metric says; weight: (N,), 1 where None. Rows without a target or of weight 0 are left out.
    """
    counting = known(prediction, target, weight)
    return _maker(metric)().compute(*counting) if len(counting[0]) else float("nan")


def intervals(
    metric: str | Callable[[], Metric], prediction: np.ndarray, target: np.ndarray, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The metric over these rows, and the 2.5 % and 97.5 % points of its bootstrap distribution.

    prediction: P(positive) (N,), P (N, K) or numbers (N,); target: codes or numbers (N,); resamples: number of draws of N rows.
    Resamples in which the metric is undefined (one class only) are left out. A metric that has `units` is drawn by them: so a group of
    rows is drawn as a whole.
    """
    make = _maker(metric)
    drawn_R = np.array(list(_resampled(make, prediction, target, resamples, seed)))
    return Interval(figure(make, prediction, target), *bounds(drawn_R))


def difference(
    metric: str | Callable[[], Metric],
    prediction_a: np.ndarray,
    prediction_b: np.ndarray,
    target: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of metric(a) - metric(b), both on the same drawn rows. Arguments as in `intervals`."""
    make = _maker(metric)
    a_R = np.array(list(_resampled(make, prediction_a, target, resamples, seed)))
    b_R = np.array(list(_resampled(make, prediction_b, target, resamples, seed)))
    return bounds(a_R - b_R)


def drawn(
    metric: str | Callable[[], Metric], prediction: np.ndarray, target: np.ndarray, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """The metric on each resample, float64 (resamples,), NaN where it is undefined; the same seed draws the same rows. See `intervals`."""
    return np.array(list(_resampled(_maker(metric), prediction, target, resamples, seed)), np.float64)


def draws(num_rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, int64 (N,), for each resample: N draws with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(0, num_rows, num_rows), minlength=num_rows)


def _resampled(
    make: Callable[[], Metric], prediction: np.ndarray, target: np.ndarray, resamples: int, seed: int
) -> Iterator[float]:
    metric = make()
    prediction, target, _ = known(prediction, target)
    num_rows = len(target)
    if num_rows == 0:
        return
    units_US = metric.units(prediction, target)
    if units_US is not None:
        for drawn_U in draws(len(units_US), resamples, seed):
            yield metric.of(drawn_U @ units_US)
        return
    order_N = np.argsort(-prediction if prediction.ndim == 1 else -prediction.reshape(num_rows, -1)[:, 0], kind="stable")
    prediction, target = prediction[order_N], target[order_N]
    for drawn_N in draws(num_rows, resamples, seed):
        yield figure(lambda: metric, prediction, target, drawn_N[order_N])


def bounds(values_R: np.ndarray) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of the values that are no NaN; NaN where none is."""
    defined = values_R[~np.isnan(values_R)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _maker(metric: str | Callable[[], Metric]) -> Callable[[], Metric]:
    if not isinstance(metric, str):
        return metric
    made: Callable[[], Metric] = REGISTRIES["metric"].get(metric)
    return made
