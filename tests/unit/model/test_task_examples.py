"""Losses and answers of the tasks that are no class and no number, each worked out in another way: loops, scikit-learn, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import mean_pinball_loss
from sklearn.preprocessing import normalize
from torch.nn import functional

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model import transitions
from lode.model.contracts import Task


def task_of(word: str, values: Any, **options: Any) -> Task:
    task: Task = REGISTRIES["task"].create(Component(word, options))
    task.fit(values if isinstance(values, np.ndarray) else np.array(values, dtype=object))
    return task


VECTORS = np.random.default_rng(0).normal(size=(7, 4))
LABELS = np.array([0, 0, 1, 1, 1, 2, 0])
"""Row 5 has no fellow: it stands among the others' negatives, and has no loss of its own."""


def embedding_loss(loss: str, **options: Any) -> float:
    task = task_of("embedding", ["a", "b", "c"], width=4, loss=loss, **options)
    return task.loss(torch.tensor(VECTORS), torch.tensor(LABELS)).item()


def test_the_contrastive_loss_is_that_of_its_paper() -> None:
    """Khosla 2020, equation 2: of each row the mean over its fellows of -log of their share among all other rows."""
    near = normalize(VECTORS) @ normalize(VECTORS).T / 0.2
    each = []
    for row in (0, 1, 2, 3, 4, 6):
        others = [other for other in range(7) if other != row]
        fellows = [other for other in others if LABELS[other] == LABELS[row]]
        each.append(-np.mean([near[row, fellow] - logsumexp(near[row, others]) for fellow in fellows]))
    assert embedding_loss("contrastive", temperature=0.2) == pytest.approx(np.mean(each), rel=1e-5)


def test_the_triplet_loss_is_that_of_its_paper() -> None:
    """Hermans 2017, equation 5 with the soft margin: the farthest fellow against the nearest of another label."""
    unit = normalize(VECTORS)
    far = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    each = []
    for row in (0, 1, 2, 3, 4, 6):
        own = max(far[row, other] for other in range(7) if other != row and LABELS[other] == LABELS[row])
        nearest = min(far[row, other] for other in range(7) if LABELS[other] != LABELS[row])
        each.append(math.log1p(math.exp(own - nearest + 0.3)))
    assert embedding_loss("triplet", margin=0.3) == pytest.approx(np.mean(each), rel=1e-5)


def test_vectors_have_length_one_and_labels_that_training_never_saw_their_own_code() -> None:
    task = task_of("embedding", ["a", "b"], width=2)
    assert task.figures(np.array([[3.0, 4.0], [0.0, -2.0]], np.float32)) == pytest.approx(np.array([[0.6, 0.8], [0.0, -1.0]]))
    assert task.truth(np.array(["new", None, "a", "new"], dtype=object)).tolist() == [0, -1, 1, 0]


def test_quantiles_learn_by_the_loss_of_scikit_learn_and_answer_with_the_middle_one() -> None:
    """Levels that are not symmetric: of 0.1 and 0.9 alone a loss with both sides exchanged would be the same."""
    values = np.random.default_rng(1).normal(size=50)
    levels = (0.05, 0.4, 0.7)
    task = task_of("quantiles", values, levels=list(levels))
    scores = np.sort(np.random.default_rng(2).normal(size=(50, 3)), axis=1).astype(np.float32)
    target = task.encode(values)
    wanted = np.mean([mean_pinball_loss(target, scores[:, place], alpha=level) for place, level in enumerate(levels)])
    assert task.loss(torch.from_numpy(scores), torch.from_numpy(target)).item() == pytest.approx(wanted, rel=1e-5)
    answers = task.decode(scores)
    assert np.array_equal(answers[""], answers["quantile.0.4"]) and not np.array_equal(answers[""], answers["quantile.0.7"])
    assert [part.level for part in task.parts()] == list(levels)
    assert task.prior(target) == pytest.approx(np.quantile(target, levels), rel=1e-5)


def test_a_number_is_judged_in_its_own_unit() -> None:
    task = task_of("number", np.array([100.0, 300.0]))
    assert task.natural(np.array([-1.0, 0.0, 2.0], np.float32)) == pytest.approx([100.0, 200.0, 400.0])


def test_labels_are_said_from_a_half_on_and_softened_by_the_temperature() -> None:
    task = task_of("multilabel", ["a|b", "b|a"])
    scores = np.array([[0.0, -0.001], [4.0, 2.0]], np.float32)
    answers = task.decode(scores, temperature=2.0)
    assert answers[""].tolist() == [["a"], ["a", "b"]]
    wanted = 1 / (1 + np.exp(-scores.astype(np.float64) / 2))
    assert answers["probability.b"] == pytest.approx(wanted[:, 1]) and task.figures(scores, 2.0) == pytest.approx(wanted)


def test_labels_are_learnt_from_min_rows_on_each_row_counted_once() -> None:
    """`a` is on two rows, `b` twice on one, `c` on one."""
    assert task_of("multilabel", ["a|b|b", "a|c"], min_rows=2).classes == ("a",)


def test_shares_and_strata_of_labels_by_hand() -> None:
    """Of four rows a is on three, b on one, c on all, d on none: log odds 3 to 1, 1 to 3, and half a row against the rest."""
    task = task_of("multilabel", ["a|c", "a|b|c|d", "c|d", "a|c"], min_rows=1)
    target = np.array([[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0], [1, 0, 1, 0]], np.float32)
    assert task.prior(target) == pytest.approx(np.log([3.0, 1 / 3, 3.5 / 0.5, 0.5 / 3.5]), rel=1e-6)
    assert task.strata(target).tolist() == [0, 1, 2, 0], "the rarest label of each row"
    assert task.strata(np.zeros((2, 4), np.float32)).tolist() == [4, 4]
    scores = np.arange(16, dtype=np.float32).reshape(4, 4)
    trial, event = task.trials(scores, target)
    assert trial[:, 0].tolist() == list(range(16)) and event.tolist() == target.ravel().tolist()


RELEVANCE = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0], [0.0, 2.0], [1.0, 2.0]])


def test_hits_of_a_ranking_are_above_what_is_asked_and_worth_what_ndcg_says() -> None:
    task = task_of("ranking", np.concatenate([RELEVANCE, [[np.nan, 1.0]]]), group="q", relevant=1.0)
    assert task.natural(task.encode(RELEVANCE))[:, 2].tolist() == [0, 0, 1, 0, 0]
    codes, worth = task.worth(np.array([[0.0, 1], [1.0, 1], [2.0, 1], [3.0, 1]], np.float32))
    assert codes.tolist() == [0, 1, 1, 2], "a relevance that training never saw counts as the next lower"
    assert worth.tolist() == [0.0, 1.0, 7.0]
    # Mean 1 and spread of 0, 1, 3, 0, 1: the root of (1 + 0 + 4 + 1 + 0) / 5
    assert task.targets(task.encode(RELEVANCE))[0] == pytest.approx((RELEVANCE[:, 0] - 1) / math.sqrt(6 / 5), rel=1e-6)
    assert task.company(np.array([[1.0, 2.0], [np.nan, np.nan]], np.float32)).tolist() == [2, -1]


def test_the_loss_of_a_ranking_is_the_one_of_its_paper() -> None:
    """Cao 2007 with shares of relevance: groups of three, two and one, the last one without relevance, which costs nothing."""
    task = task_of("ranking", RELEVANCE, group="q")
    scores = np.array([0.3, -1.0, 2.0, 0.5, 1.5, 9.0])
    target = np.array([[0.0, 1], [1.0, 1], [3.0, 1], [0.0, 2], [1.0, 2], [0.0, 3]])
    first, second = log_softmax(scores[:3]), log_softmax(scores[3:5])
    wanted = -(first[1] / 4 + 3 * first[2] / 4 + second[1]) / 6
    order = np.array([3, 0, 5, 1, 4, 2])
    found = task.loss(torch.tensor(scores[order])[:, None], torch.tensor(target[order]))
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_a_relevance_too_great_for_two_to_its_power_is_no_level() -> None:
    task = task_of("ranking", np.array([[0.0, 1.0], [31.0, 1.0]]), group="q")
    assert task.worth(np.array([[31.0, 1.0]], np.float32)) is None


def tagging() -> Task:
    """Rows of 3, 1 and 2 tokens, 2 in the mean; O four times, B-A and I-A once."""
    return task_of("tagging", ["O B-A I-A", "O", "O O"])


def test_the_loss_of_tags_is_a_sum_over_tokens_in_units_of_a_mean_row() -> None:
    task, generator = tagging(), np.random.default_rng(3)
    scores = generator.normal(size=(2, 3, 3)).astype(np.float32)
    scores[1, 2] = np.nan  # the second row ends after two steps
    target = np.array([[2, -1, -1], [1, 2, 1]])  # a tag that training never saw, twice; one that stands behind the end
    known = [(0, 0), (1, 0), (1, 1)]
    wanted = sum(-log_softmax(scores[row, step])[target[row, step]] for row, step in known) / (2 * 2.0)
    assert task.loss(torch.from_numpy(scores), torch.from_numpy(target)).item() == pytest.approx(wanted, rel=1e-5)


def test_shares_and_strata_of_tags_by_hand() -> None:
    """B-A, I-A, O in this order. The rarest tag of a row, of two that are as rare the first; O where a row has nothing else."""
    task = tagging()
    target = np.array([[2, 0, 1], [2, -1, -1], [2, 2, -1], [2, 1, 1]])
    assert task.classes == ("B-A", "I-A", "O")
    assert task.prior(target)[0] == pytest.approx(np.log(np.array([1, 3, 5]) / 9), rel=1e-6)
    assert task.strata(target).tolist() == [0, 2, 2, 1]


def test_tags_are_learnt_from_min_rows_on() -> None:
    assert task_of("tagging", ["a b a", "b a c"], min_rows=2).classes == ("a", "b")


def test_many_rows_are_tagged_as_each_row_alone() -> None:
    """Chunks of 256 rows; the best of every legal sequence, tried one by one."""
    task = tagging()
    scores = np.random.default_rng(4).normal(size=(300, 3, 3)).astype(np.float32)
    first, following, last = transitions.legal(task.classes, "bio")
    paths = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    legal = [
        path for path in paths if first[path[0]] + following[path[0], path[1]] + following[path[1], path[2]] + last[path[2]] == 0
    ]
    assert len(legal) == 13, "of 27: an I needs a B or an I before it"
    sums = np.stack([scores[:, 0, a] + scores[:, 1, b] + scores[:, 2, c] for a, b, c in legal], axis=1)
    best = [list(legal[place]) for place in sums.argmax(axis=1)]
    codes = {tag: code for code, tag in enumerate(task.classes)}
    assert [[codes[tag] for tag in row] for row in task.decode(scores)[""]] == best


def test_tags_that_begin_middle_and_end_form_whole_entities_only() -> None:
    """BMES: of all sequences of three tags those in which every entity is closed, all of one type; and which spans they have."""
    tags = ["B-A", "B-B", "E-A", "E-B", "M-A", "O", "S-A"]
    first, following, last = transitions.legal(tags, "bmes")
    allowed = set()
    for path in np.ndindex(7, 7, 7):
        if first[path[0]] + following[path[0], path[1]] + following[path[1], path[2]] + last[path[2]] == 0:
            allowed.add(" ".join(tags[code] for code in path))
    alone = ["O", "S-A"]
    wanted = {f"{a} {b} {c}" for a in alone for b in alone for c in alone} | {"B-A M-A E-A"}
    wanted |= {f"{a} B-{kind} E-{kind}" for a in alone for kind in "AB"} | {
        f"B-{kind} E-{kind} {a}" for a in alone for kind in "AB"
    }
    assert allowed == wanted
    marks = transitions.marks(tags, "bmes")
    row = np.array([[6, 6, 0, 2, 5, 0, 4, 2]])
    assert transitions.spans(marks[row]).tolist() == [[0, 0, 1, 0], [0, 1, 2, 0], [0, 2, 4, 0], [0, 5, 8, 0]]
    # Faulty ones: an end after a whole entity, and a whole entity within an open one, are entities of their own
    faulty = np.array([[6, 2], [0, 6]])
    assert transitions.spans(marks[faulty]).tolist() == [[0, 0, 1, 0], [0, 1, 2, 0], [1, 0, 1, 0], [1, 1, 2, 0]]


def test_a_row_is_flagged_from_the_score_of_its_share_on() -> None:
    """A share of 0.01 is a score of 2: one in a hundred."""
    task = task_of("anomaly", ["no", "yes", None], share=0.01, positive="yes")
    assert task.decode(np.array([[2.0], [1.999], [3.0]], np.float32))[""].tolist() == [True, False, True]
    target = task.encode(np.array(["no", "yes", None], dtype=object))
    assert task.natural(target).tolist() == [0, 1, -1], "where some rows are labelled the others are unknown"
    assert task.natural(np.array([2, 2])).tolist() == [0, 0]


def test_a_chance_of_one_half_is_the_positive_label_and_certainty_keeps_its_digits() -> None:
    task = task_of("binary", ["no", "yes"], positive="yes")
    answers = task.decode(np.array([[0.0], [50.0]], np.float32))
    assert answers[""].tolist() == ["yes", "yes"]
    assert answers["probability.no"][1] == pytest.approx(math.exp(-50), rel=1e-6, abs=0)


@pytest.mark.parametrize("word", ["binary", "multiclass"])
def test_weights_belong_to_the_classes_whatever_is_met_first_and_come_back(word: str) -> None:
    """Three rows of b, then one of a: the balanced weights are 4 / 6 and 4 / 2."""
    options = {"positive": "b"} if word == "binary" else {}
    task = task_of(word, ["b", "b", "b", "a"], class_weights="balanced", **options)
    assert task.classes == ("a", "b") and task.parts()[0].weights == pytest.approx((2.0, 2 / 3))
    other: Task = REGISTRIES["task"].create(Component(word, options))
    other.restore(task.state())
    assert other.parts() == task.parts()


def test_probabilities_of_classes_are_softened_by_the_temperature() -> None:
    task = task_of("multiclass", ["a", "b", "c"])
    scores = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    answers = task.decode(scores.numpy(), temperature=4.0)
    wanted = functional.softmax(scores.double() / 4.0, dim=1)
    found = np.stack([answers[f"probability.{name}"] for name in "abc"], axis=1)
    assert found == pytest.approx(wanted.numpy())
