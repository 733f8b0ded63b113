"""Metrics of labels, quantiles, ranks and vectors against scikit-learn, or against figures that are worked out beside the test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as peer

from lode.core.registry import REGISTRIES
from lode.model.bootstrap import figure
from lode.model.contracts import Metric


def labels(num_rows: int = 300, num_labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Chances in tenths, so that many are exactly 0.5, and labels of very different frequency."""
    generator = np.random.default_rng(3)
    chance = generator.integers(0, 11, (num_rows, num_labels)) / 10
    truth = generator.random((num_rows, num_labels)) < chance * np.array([1.0, 0.6, 0.3, 0.1])
    return chance, truth.astype(np.float32)


def test_figures_of_several_labels_are_those_of_scikit_learn() -> None:
    chance, truth = labels()
    said = chance >= 0.5
    assert figure("hamming", chance, truth) == pytest.approx(peer.hamming_loss(truth, said))
    assert figure("micro_f1", chance, truth) == pytest.approx(peer.f1_score(truth, said, average="micro"))
    assert figure("macro_f1", chance, truth) == pytest.approx(peer.f1_score(truth, said, average="macro"))
    assert figure("average_precision", chance, truth) == pytest.approx(peer.average_precision_score(truth, chance))


def test_a_label_that_does_not_occur_has_no_precision_and_its_false_alarms_count_in_f1() -> None:
    """The third label never occurs, and is said once: F1 1, 2/3 and 0. The fourth neither occurs nor is said: it is left out."""
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    chance = np.array([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.7, 0.0], [0.8, 0.1, 0.2, 0.0]])
    assert figure("macro_f1", chance, truth) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert figure("micro_f1", chance, truth) == pytest.approx(2 * 3 / (4 + 4))
    assert figure("hamming", chance, truth) == pytest.approx(2 / 12)
    # Positives stand first in both labels that occur
    assert figure("average_precision", chance, truth) == pytest.approx(1.0)
    assert math.isnan(figure("average_precision", chance, np.zeros_like(truth)))


def test_weights_of_rows_count_in_the_average_precision_of_each_label() -> None:
    chance, truth = labels()
    weight = np.random.default_rng(4).gamma(1.0, 1.0, len(truth))
    wanted = peer.average_precision_score(truth, chance, sample_weight=weight)
    assert figure("average_precision", chance, truth, weight) == pytest.approx(wanted)


def test_quantiles_cost_what_scikit_learn_says() -> None:
    """Levels that are not symmetric: with 0.1 and 0.9 alone a loss with both sides exchanged would be the same."""
    generator = np.random.default_rng(5)
    levels = (0.1, 0.3, 0.95)
    truth = generator.normal(size=200)
    said = np.sort(truth[:, None] + generator.normal(size=(200, 3)), axis=1)
    target = np.column_stack([truth, np.tile(levels, (200, 1))])
    each = [peer.mean_pinball_loss(truth, said[:, place], alpha=level) for place, level in enumerate(levels)]
    assert figure("pinball", said, target) == pytest.approx(np.mean(each))


def test_a_range_holds_its_ends_and_reaches_from_the_lowest_to_the_highest_quantile() -> None:
    said = np.tile([1.0, 2.0, 5.0], (5, 1))
    target = np.column_stack([[1.0, 5.0, 4.0, 0.9, 5.1], np.tile([0.1, 0.5, 0.9], (5, 1))])
    assert figure("coverage", said, target) == pytest.approx(3 / 5)
    assert figure("interval_width", said, target) == pytest.approx(4.0)


def test_ndcg_looks_at_ten_places_and_its_gains_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(6)
    relevance, score = generator.integers(0, 4, (3, 15)).astype(float), generator.random((3, 15))
    target = np.column_stack([relevance.ravel(), np.repeat(np.arange(3), 15), relevance.ravel() > 0])
    wanted = peer.ndcg_score(2.0**relevance - 1.0, score, k=10)
    assert figure("ndcg", score.ravel(), target) == pytest.approx(wanted)


def hits(*groups: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(score, target) of groups in which the rows stand in this order, 1 for a hit. Relevance is 1 more: what is no hit has some too."""
    found = [(-place, hit + 1.0, group, hit) for group, each in enumerate(groups) for place, hit in enumerate(each)]
    table = np.array(found, dtype=np.float64)
    return table[:, 0], table[:, 1:]


def test_recall_counts_hits_among_the_first_ten_of_all_hits() -> None:
    """Two of three are among ten (the third is at place 11); ten of twelve; a group without a hit counts for nothing."""
    score, target = hits([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], [1] * 12, [0, 0])
    assert figure("recall_at_10", score, target) == pytest.approx((2 / 3 + 10 / 12) / 2)


def test_places_of_hits_by_hand_and_by_scikit_learn() -> None:
    """First hits at places 2 and 3; precisions at the hits 1/2, 2/4, 3/5 and 1/3, 2/4."""
    groups = [0, 1, 0, 1, 1], [0, 0, 1, 1]
    score, target = hits(*groups, [0, 0, 0])
    assert figure("mrr", score, target) == pytest.approx((1 / 2 + 1 / 3) / 2)
    by_hand = ((1 / 2 + 2 / 4 + 3 / 5) / 3 + (1 / 3 + 2 / 4) / 2) / 2
    assert figure("map", score, target) == pytest.approx(by_hand)
    each = [peer.average_precision_score(group, -np.arange(len(group))) for group in groups]
    assert figure("map", score, target) == pytest.approx(np.mean(each))


def test_neighbours_of_many_rows_are_those_of_each_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are taken in chunks: by hand, row by row, over several of them. The last row has no fellow and counts for nothing."""
    generator = np.random.default_rng(7)
    label = np.append(generator.integers(0, 4, 40), 9)
    vector = generator.normal(size=(41, 5)) + 2 * generator.normal(size=(10, 5))[label]
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    first, precision = [], []
    for row in range(40):
        near = [other for other in np.argsort(-(vector @ vector[row])) if other != row]
        same = label[near] == label[row]
        size = int(same.sum())
        first.append(same[0])
        precision.append(sum(same[: place + 1].mean() for place in range(size) if same[place]) / size)
    monkeypatch.setattr("lode.model.neighbours._CHUNK_CELLS", 41 * 7)
    assert figure("recall_at_1", vector, label) == pytest.approx(np.mean(first))
    assert figure("map_at_r", vector, label) == pytest.approx(np.mean(precision))


def test_tokens_behind_the_end_of_a_row_are_no_tokens() -> None:
    """Three and one tokens, of which two are right; what is said behind an end counts neither way, nor an entity there."""
    none, outside, begins = (-1, -1, -1), (0, 0, -1), (1, 1, 0)
    target = np.array([[begins, outside, outside], [begins, none, none]])
    said = np.array([[begins, begins, begins], [begins, begins, none]], dtype=np.float64)
    assert figure("token_accuracy", said, target) == pytest.approx(2 / 4)
    # Two of two entities are found, and two more are said in the first row: 2 TP / (2 TP + FP) = 4 / 6
    assert figure("entity_f1", said, target) == pytest.approx(4 / 6)


HIGHER = {
    "accuracy", "auc", "average_precision", "coverage", "entity_f1", "f1", "macro_f1", "map", "map_at_r", "micro_f1", "mrr", "ndcg",
    "r2", "recall_at_1", "recall_at_10", "token_accuracy",
}  # fmt: skip
LOWER = {"brier", "hamming", "interval_width", "log_loss", "mae", "pinball", "rmse"}


def test_which_way_is_better_is_known_of_every_metric() -> None:
    made: dict[str, Metric] = {word: REGISTRIES["metric"].get(word)() for word in REGISTRIES["metric"].names()}
    assert {word for word, metric in made.items() if metric.higher_is_better} == HIGHER
    assert {word for word, metric in made.items() if not metric.higher_is_better} == LOWER


def test_log_loss_of_a_certain_right_answer_is_nothing() -> None:
    assert figure("log_loss", np.array([1.0, 0.0]), np.array([1, 0])) == pytest.approx(0.0, abs=1e-15)
    wanted = peer.log_loss([1, 0], [0.999999999999, 0.000000000002])
    assert figure("log_loss", np.array([0.999999999999, 0.000000000002]), np.array([1, 0])) == pytest.approx(wanted, rel=1e-6)


def test_a_number_that_is_missing_anywhere_in_a_row_leaves_it_out() -> None:
    """Quantiles of a row whose truth is missing; tags of a row that ends early count up to there."""
    said = np.tile([0.0, 1.0], (3, 1))
    target = np.array([[0.5, 0.1, 0.9], [np.nan, 0.1, 0.9], [2.0, 0.1, 0.9]])
    assert figure("coverage", said, target) == pytest.approx(0.5)
