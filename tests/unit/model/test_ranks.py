"""Rows ranked within their group: figures where scores are equal, and trees that learn the order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec
from lode.model.bootstrap import figure
from lode.model.contracts import Context, Examples, Shapes, Task

METRICS = ("ndcg", "map", "mrr", "recall_at_10")


@pytest.mark.parametrize("word", METRICS)
def test_equal_scores_are_worth_the_mean_over_every_order(word: str) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        relevance = generator.permutation([0.0, 0.0, 1.0, 2.0, 0.0])
        score = generator.integers(0, 2, 5).astype(float)
        target = np.column_stack([relevance, np.ones(5), relevance > 0])
        each = [figure(word, 100 * score + np.array(order), target) for order in permutations(range(5))]
        assert figure(word, score, target) == pytest.approx(np.mean(each))


def test_a_score_that_tells_nothing_is_no_better_than_none() -> None:
    generator = np.random.default_rng(0)
    relevance, group = generator.integers(0, 3, 6000).astype(float), np.repeat(np.arange(500), 12)
    target = np.column_stack([relevance, group, relevance > 1])
    for word in METRICS:
        assert figure(word, generator.random(6000), target) == pytest.approx(figure(word, np.zeros(6000), target), abs=0.02)


def queries(num_groups: int = 150, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 3) and values (N, 2): relevance is what the features say beside what the whole group has, in mixed order."""
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(num_groups * size, 3)).astype(np.float32)
    group = np.repeat(np.arange(num_groups), size)
    worth = matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + 3 * generator.normal(size=num_groups)[group]
    order = generator.permutation(len(group))
    return matrix[order], np.column_stack([np.digitize(worth, [-2, 0, 2, 4]), group]).astype(float)[order]


def ranked_by_trees(task: Task, matrix: np.ndarray, values: np.ndarray) -> float:
    """NDCG on the last fifth of the groups of trees fitted on the others."""
    target, test = task.encode(values), values[:, 1] >= 120
    shapes = Shapes({}, FlatSpec(("a", "b", "c"), (0, 0, 0)))
    model = REGISTRIES["family"].create(Component("trees", {"rounds": 100}), shapes, {"y": task})
    own = Context(seed=0, rounds=60)
    model.fit(Examples(int((~test).sum()), {}, matrix[~test], {"y": target[~test]}), None, own)
    scores = model.predict(Examples(int(test.sum()), {}, matrix[test], {}))["y"]
    return figure("ndcg", task.figures(scores), task.natural(target[test]))


def test_trees_learn_the_order_within_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, values = queries()
    task: Task = REGISTRIES["task"].create(Component("ranking", {"group": "q"}))
    task.fit(values)
    found = ranked_by_trees(task, matrix, values)
    monkeypatch.setattr(type(task), "worth", lambda self, target: None)
    assert found > ranked_by_trees(task, matrix, values) + 0.01, "row by row, what the group has hides what the features say"


def test_relevance_of_many_levels_is_fitted_row_by_row() -> None:
    task: Task = REGISTRIES["task"].create(Component("ranking", {"group": "q"}))
    few, many = queries()[1], queries()[1]
    task.fit(few)
    codes, worth = task.worth(np.array([[3.0, 1.0], [9.0, 1.0]], np.float32)) or (None, None)
    assert codes.tolist() == [3, 4] and worth.tolist() == [0, 1, 3, 7, 15]
    many[:, 0] = np.random.default_rng(0).random(len(many))
    task.fit(many)
    assert task.worth(task.encode(many)) is None
