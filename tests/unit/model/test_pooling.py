"""Means of scores, and the weights that lower the loss."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from lode.model.pooling import can_pool, greedy, pooled, row_losses
from lode.model.tasks.binary import Binary
from lode.model.tasks.multiclass import Multiclass
from lode.model.tasks.number import Number


def _binary() -> Binary:
    task = Binary(positive="a")
    task.fit(np.array(["a", "b"], dtype=object))
    return task


def _multiclass() -> Multiclass:
    task = Multiclass()
    task.fit(np.array(["a", "b", "c"], dtype=object))
    return task


def test_probabilities_are_averaged_and_come_back_as_scores() -> None:
    one, other = np.float32([[2.0], [-1.0]]), np.float32([[0.0], [3.0]])
    mean = pooled(_binary(), [one, other], [3.0, 1.0])
    assert expit(mean) == pytest.approx(0.75 * expit(one) + 0.25 * expit(other), abs=1e-6) and mean.dtype == np.float32
    one, other = np.float32([[2.0, 0.0, 1.0]]), np.float32([[0.0, 3.0, 0.0]])
    mean = pooled(_multiclass(), [one, other], [1.0, 1.0])
    assert softmax(mean, axis=1) == pytest.approx((softmax(one, axis=1) + softmax(other, axis=1)) / 2, abs=1e-6)


def test_numbers_are_averaged_as_they_are() -> None:
    assert pooled(Number(), [np.float32([[1.0]]), np.float32([[5.0]])], [1.0, 3.0]) == pytest.approx(4.0)


def test_certainty_stays_finite() -> None:
    assert np.isfinite(pooled(_binary(), [np.float32([[900.0], [-900.0]])], [1.0])).all()


@pytest.mark.parametrize("kind", ["binary", "number"])
def test_greedy_finds_the_mixture_that_helps_and_leaves_noise_out(kind: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, 1))
    good = {name: truth + rng.normal(size=truth.shape) for name in ("a", "b")}
    task = Number() if kind == "number" else _binary()
    target = truth[:, 0] if kind == "number" else (rng.random(4000) < expit(truth[:, 0])).astype(np.int64)
    scores = {**{name: (found / 2).astype(np.float32) for name, found in good.items()},
              "noise": rng.normal(size=truth.shape).astype(np.float32)}  # fmt: skip
    shares = greedy(task, scores, target)
    assert sum(shares.values()) == pytest.approx(1.0) and shares["noise"] < 0.1 and min(shares["a"], shares["b"]) > 0.3
    mixed = pooled(task, list(scores.values()), list(shares.values()))
    assert row_losses(task, mixed, target).mean() < min(row_losses(task, found, target).mean() for found in scores.values())


def test_one_model_alone_has_the_whole_weight() -> None:
    assert greedy(_binary(), {"only": np.float32([[1.0], [-1.0]])}, np.array([1, 0])) == {"only": 1.0}


def test_what_can_be_averaged() -> None:
    assert can_pool(_binary()) and can_pool(Number()) and can_pool(_multiclass())


def test_greedy_finds_a_model_that_helps_only_with_a_small_share() -> None:
    """Half of it does harm, a fifth helps: where adding stops at the first step without a gain, the best model stands alone."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20_000, 1))
    scores = {
        name: (truth + size * rng.normal(size=truth.shape)).astype(np.float32) for name, size in (("good", 0.5), ("poor", 1.0))
    }
    shares = greedy(Number(), scores, truth[:, 0])
    # Of independent errors the best shares are inverse to their squares: 0.8 and 0.2.
    assert shares["poor"] == pytest.approx(0.2, abs=0.03)
    half = pooled(Number(), list(scores.values()), [0.5, 0.5])
    assert row_losses(Number(), half, truth[:, 0]).mean() > row_losses(Number(), scores["good"], truth[:, 0]).mean()
