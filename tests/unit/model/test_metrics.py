"""Metrics equal scikit-learn's, with ties and with weights; undefined figures are NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as peer

from lode.model.bootstrap import figure
from lode.model.contracts import Metric
from lode.model.metrics.accuracy import Accuracy
from lode.model.metrics.auc import Auc
from lode.model.metrics.average_precision import AveragePrecision
from lode.model.metrics.brier import Brier
from lode.model.metrics.f1 import F1
from lode.model.metrics.log_loss import LogLoss
from lode.model.metrics.macro_f1 import MacroF1
from lode.model.metrics.mae import Mae
from lode.model.metrics.r2 import R2
from lode.model.metrics.rmse import Rmse

Peer = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

BINARY: list[tuple[type[Metric], Peer]] = [
    (Auc, lambda t, p, w: peer.roc_auc_score(t, p, sample_weight=w)),
    (AveragePrecision, lambda t, p, w: peer.average_precision_score(t, p, sample_weight=w)),
    (Accuracy, lambda t, p, w: peer.accuracy_score(t, p >= 0.5, sample_weight=w)),
    (LogLoss, lambda t, p, w: peer.log_loss(t, p, sample_weight=w)),
    (Brier, lambda t, p, w: peer.brier_score_loss(t, p, sample_weight=w)),
    (F1, lambda t, p, w: peer.f1_score(t, p >= 0.5, sample_weight=w)),
]
CLASSES: list[tuple[type[Metric], Peer]] = [
    (Accuracy, lambda t, p, w: peer.accuracy_score(t, p.argmax(1), sample_weight=w)),
    (LogLoss, lambda t, p, w: peer.log_loss(t, p, sample_weight=w, labels=range(p.shape[1]))),
    (MacroF1, lambda t, p, w: peer.f1_score(t, p.argmax(1), average="macro", sample_weight=w)),
]
NUMBERS: list[tuple[type[Metric], Peer]] = [
    (R2, lambda t, p, w: peer.r2_score(t, p, sample_weight=w)),
    (Rmse, lambda t, p, w: peer.root_mean_squared_error(t, p, sample_weight=w)),
    (Mae, lambda t, p, w: peer.mean_absolute_error(t, p, sample_weight=w)),
]


@pytest.mark.parametrize(("metric", "other"), BINARY)
@pytest.mark.parametrize("steps", [3, 11, 10**9], ids=["many ties", "ties", "no ties"])
@pytest.mark.parametrize("seed", range(3))
def test_binary_metrics_equal_scikit_learn(metric: type[Metric], other: Peer, steps: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    prediction = generator.integers(0, steps, 500) / (steps - 1)
    target = (generator.random(500) < 0.3 + 0.4 * prediction).astype(np.int64)
    for weight in (np.ones(500), generator.gamma(1.0, 1.0, 500)):
        assert figure(metric, prediction, target, weight) == pytest.approx(other(target, prediction, weight), rel=1e-11)


@pytest.mark.parametrize(("metric", "other"), CLASSES)
def test_class_metrics_equal_scikit_learn(metric: type[Metric], other: Peer) -> None:
    generator = np.random.default_rng(1)
    prediction = generator.dirichlet(np.ones(5), 300)
    target = generator.integers(0, 4, 300)
    for weight in (np.ones(300), generator.gamma(1.0, 1.0, 300)):
        assert figure(metric, prediction, target, weight) == pytest.approx(other(target, prediction, weight), rel=1e-11)


@pytest.mark.parametrize(("metric", "other"), NUMBERS)
def test_number_metrics_equal_scikit_learn(metric: type[Metric], other: Peer) -> None:
    generator = np.random.default_rng(2)
    target = generator.normal(1e6, 3.0, 300)
    prediction = target + generator.normal(size=300)
    for weight in (np.ones(300), generator.gamma(1.0, 1.0, 300)):
        assert figure(metric, prediction, target, weight) == pytest.approx(other(target, prediction, weight), rel=1e-9)


def test_small_cases_by_hand() -> None:
    target = np.array([0, 0, 1, 1])
    assert figure(Auc, np.array([0.1, 0.4, 0.35, 0.8]), target) == 0.75
    assert figure(Auc, np.full(4, 0.5), target) == 0.5
    assert figure(AveragePrecision, np.array([0.1, 0.4, 0.35, 0.8]), target) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert figure(Accuracy, np.array([0.5, 0.49, 0.5, 0.49]), target) == 0.5
    assert figure(R2, np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == 1.0


@pytest.mark.parametrize("metric", [Auc, AveragePrecision, F1])
def test_no_positive_makes_it_undefined(metric: type[Metric]) -> None:
    assert math.isnan(figure(metric, np.array([0.1, 0.2]), np.array([0, 0])))


def test_one_class_or_equal_numbers_make_it_undefined() -> None:
    assert math.isnan(figure(Auc, np.array([0.1, 0.2]), np.array([1, 1])))
    assert math.isnan(figure(R2, np.array([1.0, 2.0]), np.array([3.0, 3.0])))


def test_a_wrong_certainty_has_a_finite_log_loss() -> None:
    assert figure(LogLoss, np.array([0.0]), np.array([1])) == pytest.approx(36.04, abs=0.01)


def test_arrays_of_different_length_are_a_defect() -> None:
    with pytest.raises(ValueError, match="2 predictions, 3 targets"):
        figure(Auc, np.zeros(2), np.zeros(3, dtype=np.int64))
