"""Bootstrap intervals: exact draws, deterministic, paired, with the coverage that they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lode.model.bootstrap import difference, draws, figure, intervals
from lode.model.metrics.accuracy import Accuracy
from lode.model.metrics.auc import Auc
from lode.model.metrics.log_loss import LogLoss
from lode.model.metrics.mae import Mae


def binary(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    prediction = generator.integers(0, 30, num_rows) / 29
    return prediction, (generator.random(num_rows) < prediction).astype(np.int64)


@pytest.mark.parametrize("metric", [Auc, LogLoss])
def test_intervals_equal_those_of_resampled_rows(metric: type) -> None:
    prediction, target = binary(80, 0)
    values = []
    for drawn in draws(80, 200, seed=5):
        rows = np.repeat(np.arange(80), drawn)
        assert len(rows) == 80
        values.append(figure(metric, prediction[rows], target[rows]))
    found = intervals(metric, prediction, target, resamples=200, seed=5)
    assert found.value == figure(metric, prediction, target)
    assert (found.low, found.high) == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_a_word_names_the_metric() -> None:
    prediction, target = binary(80, 0)
    assert intervals("auc", prediction, target, 50) == intervals(Auc, prediction, target, 50)


def test_intervals_of_classes_and_numbers() -> None:
    generator = np.random.default_rng(0)
    classes = generator.dirichlet(np.ones(3), 60)
    found = intervals(Accuracy, classes, generator.integers(0, 3, 60), 100)
    assert found.low <= found.value <= found.high
    numbers = generator.normal(size=60)
    assert intervals(Mae, numbers + 1, numbers, 100) == pytest.approx((1.0, 1.0, 1.0))


def test_intervals_cover_the_mean_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        right = np.random.default_rng(seed).random(100) < 0.7
        _, low, high = intervals(Accuracy, right.astype(np.float64), np.ones(100, dtype=np.int64), 200, seed)
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


def test_a_model_does_not_differ_from_itself_and_pairs_are_narrower() -> None:
    prediction, target = binary(300, 1)
    assert difference(Auc, prediction, prediction, target, 100) == (0.0, 0.0)
    worse = np.clip(prediction + np.random.default_rng(0).normal(0, 0.05, 300), 0, 1)
    low, high = difference(Auc, prediction, worse, target, 200)
    a, b = intervals(Auc, prediction, target, 200), intervals(Auc, worse, target, 200)
    assert high - low < (a.high - a.low + b.high - b.low) / 2


def test_resamples_that_do_not_define_the_figure_are_left_out() -> None:
    found = intervals(Auc, np.array([0.9, 0.1, 0.2]), np.array([1, 0, 0]), 100)
    assert found == (1.0, 1.0, 1.0)
    undefined = intervals(Auc, np.array([0.9, 0.1]), np.array([0, 0]), 20)
    assert all(math.isnan(value) for value in undefined)
    assert all(math.isnan(value) for value in intervals(Auc, np.empty(0), np.empty(0, dtype=np.int64), 20))


def test_the_same_seed_gives_the_same_interval() -> None:
    prediction, target = binary(100, 2)
    assert intervals(Auc, prediction, target, 50, seed=3) == intervals(Auc, prediction, target, 50, seed=3)
    assert intervals(Auc, prediction, target, 50, seed=3) != intervals(Auc, prediction, target, 50, seed=4)
