"""Ensembles whose weights are known: learnt on other folds, alike for all, or by a gain that is large enough."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lode.model.pooling import greedy, pooled, row_losses
from lode.model.tasks.multiclass import Multiclass
from lode.model.tasks.multilabel import Multilabel
from lode.model.tasks.number import Number
from lode.model.tasks.quantiles import Quantiles
from lode.pipeline.blend import Blend, blend, surely_better


def judged(target: np.ndarray, fold: np.ndarray) -> Any:
    """What a blend asks of a development: one output, whose rows are judged in this order."""
    return SimpleNamespace(
        tasks={"y": Number()}, first="y", targets={"y": target}, judged=lambda size: (np.arange(size), fold[:size])
    )


def test_each_row_is_answered_by_weights_from_the_other_folds() -> None:
    """`a` is right in fold 0 alone and `b` in fold 1 alone: rows of fold 0 are judged by `b`, which was right in fold 1."""
    target, fold = np.arange(8.0), np.array([0, 1] * 4)
    a, b = (np.where(fold == right, target, target + 1)[:, None].astype(np.float32) for right in (0, 1))
    made = blend("greedy", judged(target, fold), {"a": {"y": a}, "b": {"y": b}}, 0)
    assert made.scores["y"][:, 0].tolist() == (target + 1).tolist(), "the one of the two that is wrong there"
    assert made.weights == {"y": {"a": 0.5, "b": 0.5}} and made.names == ("a", "b")


def test_a_stack_answers_each_row_by_a_learner_that_never_saw_its_fold() -> None:
    """A row whose target is far out changes the answers of the other fold alone."""
    generator = np.random.default_rng(0)
    target, fold = generator.normal(size=60), np.resize([0, 1], 60)
    scores = {name: {"y": (target + generator.normal(size=60))[:, None].astype(np.float32)} for name in "ab"}
    first = blend("stacking", judged(target, fold), scores, 0).scores["y"]
    again = blend("stacking", judged(np.append(50.0, target[1:]), fold), scores, 0).scores["y"]
    assert np.array_equal(first[fold == 0], again[fold == 0]) and not np.array_equal(first[fold == 1], again[fold == 1])
    assert np.abs(first[:, 0] - target).mean() < np.abs(scores["a"]["y"][:, 0] - target).mean()


def test_votes_weigh_alike() -> None:
    target = np.zeros(4)
    scores = {name: {"y": np.full((4, 1), value, np.float32)} for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0))}
    made = blend("voting", judged(target, np.zeros(4, np.int64)), scores, 0)
    assert made.weights == {"y": dict.fromkeys("abc", 1 / 3)} and made.scores["y"] == pytest.approx(np.full((4, 1), 3.0))


@pytest.mark.parametrize(("num_rows", "is_better"), [(100, True), (16, False)])
def test_surely_better_is_by_more_than_one_standard_error(num_rows: int, is_better: bool) -> None:
    """Losses of 1 against 0.7 and 1.2 in turn: 0.05 less, with a spread of 0.25, which is 0.025 of 100 rows and 0.0625 of 16."""
    development = judged(np.zeros(num_rows), np.zeros(num_rows, np.int64))
    one, other = (
        Blend("greedy", ("a",), {}, None, {"y": np.sqrt(np.resize(losses, num_rows))[:, None]}) for losses in ([1.0], [0.7, 1.2])
    )
    assert surely_better(other, one, development) is is_better
    assert not surely_better(one, other, development)


def test_a_gain_of_one_in_a_million_is_none_and_without_a_finite_loss_all_weigh_alike() -> None:
    """Errors of 1 and 0.001 to either side: the mean of both has 10^-6 less."""
    side = np.resize([1.0, -1.0], 100)[:, None]
    close = {"a": 1 + 0.001 * side, "b": 1 - 0.001 * side}
    assert greedy(Number(), close, np.zeros(100)) == {"a": 1.0, "b": 0.0}
    apart = {"a": 1 + 0.1 * side, "b": 1 - 0.1 * side}
    assert greedy(Number(), apart, np.zeros(100)) == {"a": 0.5, "b": 0.5}
    assert greedy(Number(), {"a": np.full((2, 1), np.nan), "b": np.full((2, 1), np.nan)}, np.zeros(2)) == {"a": 0.5, "b": 0.5}


def test_losses_of_rows_by_hand() -> None:
    """Pinball of 0.2 and 0.9 (2 short of 5, 1 above it), logs of what the true class got, and of two labels each."""
    levels = Quantiles(levels=[0.2, 0.9])
    assert row_losses(levels, np.array([[3.0, 6.0]]), np.array([5.0])) == pytest.approx([(0.2 * 2 + 0.1 * 1) / 2])
    classes = Multiclass()
    classes.fit(np.array(["a", "b"], dtype=object))
    chance = np.array([[0.8, 0.2], [0.3, 0.7]])
    assert row_losses(classes, np.log(chance), np.array([0, 0])) == pytest.approx(-np.log([0.8, 0.3]))
    labels = Multilabel(min_rows=1)
    labels.fit(np.array(["a", "b"], dtype=object))
    odds = np.log(chance / (1 - chance))
    wanted = -(np.log([0.8, 0.3]) + np.log([0.8, 0.7])) / 2  # both rows have the first label, the second row the second too
    assert row_losses(labels, odds, np.array([[1, 0], [1, 1]])) == pytest.approx(wanted)


def test_labels_are_averaged_each_for_itself() -> None:
    """Chances of 0.8 and 0.2, and of 0.4 and 0.9, at weights of 3 and 1: 0.7 and 0.375."""
    labels = Multilabel(min_rows=1)
    labels.fit(np.array(["a", "b"], dtype=object))
    one, other = (np.log(chance / (1 - chance)) for chance in (np.array([[0.8, 0.2]]), np.array([[0.4, 0.9]])))
    assert labels.figures(pooled(labels, [one, other], [3.0, 1.0])) == pytest.approx(np.array([[0.7, 0.375]]), abs=1e-6)
