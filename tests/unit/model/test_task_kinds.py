"""Loss options, and what the tasks beyond class and number do: worked examples whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lode.core.errors import DataError, ModelError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model import transitions
from lode.model.batches import Rows
from lode.model.bootstrap import figure, intervals
from lode.model.contracts import Context, Examples, Shapes, Task
from lode.model.losses import focal_slope
from lode.model.pinball import fit_pinball
from lode.model.training import Training


def task_of(word: str, values: Any, **options: Any) -> Task:
    task: Task = REGISTRIES["task"].create(Component(word, options))
    task.fit(values if isinstance(values, np.ndarray) else np.array(values, dtype=object))
    return task


def test_label_smoothing_is_cross_entropy_to_the_smoothed_target() -> None:
    task = task_of("multiclass", ["a", "b", "c"], label_smoothing=0.3)
    scores, code = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([1])
    soft = torch.tensor([[0.1, 0.8, 0.1]])
    assert torch.allclose(task.loss(scores, code), -(soft * scores.log_softmax(1)).sum())
    binary = task_of("binary", [0, 1], positive=1, label_smoothing=0.2)
    logit = torch.tensor([[0.7]])
    wanted = -(0.9 * torch.sigmoid(logit).log() + 0.1 * torch.sigmoid(-logit).log())
    assert torch.allclose(binary.loss(logit, torch.tensor([1])), wanted)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}])
def test_focal_loss_of_zero_is_the_plain_loss(options: dict[str, Any]) -> None:
    """Gamma 0 is cross-entropy (Lin 2017, equation 4); a tiny one must come close to it by the other way of computing."""
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    code = torch.tensor([0, 1, 2, 0, 0, 0, 1, 2])
    labels = ["a", "b", "c", "a", "a", "a", "b", "c"]
    plain, focal = task_of("multiclass", labels, **options), task_of("multiclass", labels, **options, focal=1e-7)
    assert torch.allclose(plain.loss(scores, code), focal.loss(scores, code), atol=1e-5)


def test_focal_loss_weighs_by_what_is_left_to_learn() -> None:
    task = task_of("binary", [0, 1], positive=1, focal=2.0)
    logit = torch.tensor([[1.5]], requires_grad=True)
    p = torch.sigmoid(logit)
    loss = task.loss(logit, torch.tensor([1]))
    assert torch.allclose(loss, -((1 - p) ** 2) * p.log())
    sure = torch.tensor([[80.0]], requires_grad=True)
    task.loss(sure, torch.tensor([1])).backward()
    assert sure.grad is not None and torch.isfinite(sure.grad).all()


def test_class_weights_leave_probabilities_at_the_true_rates() -> None:
    """The best constant score under the weighted loss is the log odds of the rows as they are, not of the weighted ones."""
    labels = [1] * 20 + [0] * 180
    task = task_of("binary", labels, positive=1, class_weights={"1": 7, "0": 1})
    target = torch.from_numpy(task.encode(np.array(labels)))
    logit = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(logit.expand(200, 1), target)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.sigmoid(logit).item() == pytest.approx(0.1, abs=1e-3)
    weights = task.parts()[0].weights
    assert weights is not None and (180 * weights[0] + 20 * weights[1]) / 200 == pytest.approx(1.0)
    other: Task = REGISTRIES["task"].create(Component("binary", {"positive": 1}))
    other.restore(task.state())
    assert other.parts() == task.parts()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
def test_the_slope_of_focal_scores_is_that_of_the_best_scores(gamma: float) -> None:
    """Minimised numerically for events of 50 % and a little more: the score's rise against the rise of the true log odds."""
    task = task_of("binary", [0, 1], positive=1, focal=gamma)
    grid = torch.linspace(-0.2, 0.2, 40_001)
    yes, no = (torch.stack([task.loss(score.view(1, 1), torch.tensor([code])) for score in grid[::40]]) for code in (1, 0))
    chance = 0.52
    best = float(grid[::40][torch.argmin(chance * yes + (1 - chance) * no)])
    assert np.log(chance / (1 - chance)) / best == pytest.approx(focal_slope(gamma), rel=0.02)


@pytest.mark.parametrize("family", ["linear", "trees"])
def test_baselines_under_class_weights_keep_the_true_rates_too(family: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3000, 2)).astype(np.float32)
    y = (x[:, 0] + generator.normal(size=3000) > 1.8).astype(np.int64)
    task = task_of("binary", y, positive=1, class_weights="balanced")
    model = REGISTRIES["family"].create(Component(family), Shapes({}, FlatSpec(("a", "b"), (0, 0))), {"y": task})
    model.fit(Examples(3000, {}, x, {"y": task.encode(y)}), None, Context(rounds=40))
    said = task.figures(model.predict(Examples(3000, {}, x))["y"])
    assert said.mean() == pytest.approx(y.mean(), rel=0.05)  # under the weights themselves it would be 0.27
    plain = LogisticRegression().fit(x, y).predict_proba(x)[:, 1]
    assert np.abs(said - plain).mean() < 0.05


def test_a_weight_of_a_class_that_does_not_occur_is_an_error() -> None:
    with pytest.raises(DataError, match=r'names "yess".*Did you mean "yes"'):
        task_of("binary", ["yes", "no"], positive="yes", class_weights={"yess": 2.0})


def test_several_labels_come_back_as_lists_and_unseen_ones_are_left_out() -> None:
    task = task_of("multilabel", ["a|b", "b", "", "a"])
    assert task.classes == ("a", "b")
    assert task.encode(np.array(["b|new", None, ["a", "b"]], dtype=object)).tolist() == [[0, 1], [0, 0], [1, 1]]
    answers = task.decode(np.array([[3.0, -3.0], [-1.0, -1.0]], np.float32))
    assert answers[""].tolist() == [["a"], []]
    with pytest.raises(DataError, match="no label occurs on 5"):
        task_of("multilabel", ["a|b", "b"], min_rows=5)


def test_quantiles_never_cross_and_their_loss_is_least_at_the_quantile() -> None:
    values = np.random.default_rng(0).exponential(size=4001)
    task = task_of("quantiles", values, levels=[0.1, 0.9])
    crossed = task.decode(np.array([[2.0, -1.0]], np.float32))
    assert crossed["quantile.0.1"][0] < crossed["quantile.0.9"][0]
    prior = task.figures(task.prior(task.encode(values))[None])
    np.testing.assert_allclose(prior[0], np.quantile(values, [0.1, 0.9]), rtol=1e-3)
    truth = task.truth(values)
    best = figure("pinball", np.tile(prior, (len(values), 1)), truth)
    assert all(best < figure("pinball", np.tile(prior, (len(values), 1)) + step, truth) for step in (0.1, -0.1))
    assert figure("coverage", np.tile(prior, (len(values), 1)), truth) == pytest.approx(0.8, abs=0.01)
    with pytest.raises(SpecError, match="rising numbers"):
        task_of("quantiles", values, levels=[0.9, 0.1])


def test_linear_quantiles_find_the_slope_of_each_level() -> None:
    generator = np.random.default_rng(1)
    x = generator.uniform(0, 2, (4000, 1))
    y = x[:, 0] + generator.normal(size=4000) * x[:, 0]
    for level, shift in ((0.1, -1.2816), (0.9, 1.2816)):
        weight, bias = fit_pinball(x, y, level, 0.01, 300)
        assert weight[0, 0] == pytest.approx(1 + shift, abs=0.15) and bias[0] == pytest.approx(0.0, abs=0.1)


def test_only_legal_sequences_are_answered() -> None:
    """The best tag of each step alone would be I-A I-B; the best sequence that can be starts with B-A or stays outside."""
    tags = ["B-A", "B-B", "I-A", "I-B", "O"]
    scores = np.log(np.array([[[0.3, 0.05, 0.5, 0.05, 0.1], [0.05, 0.05, 0.4, 0.45, 0.05]]]))
    moves = transitions.legal(tags, transitions.scheme_of(tags))
    assert transitions.best(scores, moves).tolist() == [[0, 2]]
    padded = np.concatenate([scores, np.full((1, 2, 5), np.nan)], axis=1)
    assert transitions.best(padded, moves).tolist() == [[0, 2, -1, -1]]
    bmes = ["B-A", "E-A", "M-A", "O", "S-A"]
    every = transitions.best(np.random.default_rng(0).normal(size=(40, 9, 5)), transitions.legal(bmes, "bmes"))
    for row in every:
        word = "".join(bmes[code][0] for code in row)
        assert (
            word.replace("S", "").replace("O", "").replace("M", "").replace("BE", "") == ""
            and "OM" not in word
            and "SE" not in word
        )


def test_entities_are_counted_whole() -> None:
    tags = ["B-A", "B-B", "I-A", "I-B", "O"]
    marks = transitions.marks(tags, "bio")
    truth = marks[np.array([[0, 2, 4, 1, -1]])]
    assert transitions.spans(truth).tolist() == [[0, 0, 2, 0], [0, 3, 4, 1]]
    said = marks[np.array([[0, 4, 4, 1, 0]])]  # the first one is too short, the second right, behind the end nothing counts
    codes = [np.array([[0, 2, 4, 1, -1]])[..., None], np.array([[0, 4, 4, 1, 0]])[..., None]]
    target, prediction = np.concatenate([codes[0], truth], axis=2), np.concatenate([codes[1], said], axis=2)
    assert figure("entity_f1", prediction, target) == pytest.approx(0.5)
    assert figure("token_accuracy", prediction, target) == pytest.approx(0.75)
    # As the evaluation of CoNLL reads it, an inner mark of another type starts an entity.
    assert transitions.spans(marks[np.array([[2, 3]])]).tolist() == [[0, 0, 1, 0], [0, 1, 2, 1]]


def test_a_batch_keeps_rows_of_one_group_side_by_side() -> None:
    code = np.arange(60) % 6
    rows = Rows(Examples(60, {}, None, {"y": code.astype(np.float32)}), {}, "cpu", (code, 1 << 30))
    order = rows.by_length(np.random.default_rng(0).permutation(60), 10, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(60))
    assert all(len(set(code[order[start : start + 10]])) == 1 for start in range(0, 60, 10))
    pairs = Rows(Examples(60, {}, None, {"y": code.astype(np.float32)}), {}, "cpu", (code, 2))
    order = pairs.by_length(np.random.default_rng(0).permutation(60), 10, np.random.default_rng(1))
    assert (code[order[0::2]] == code[order[1::2]]).all() and len(set(code[order[:10]])) > 1


def test_ranking_metrics_by_hand_and_groups_are_drawn_whole() -> None:
    score = np.array([3.0, 2.0, 1.0, 1.0, 2.0])
    target = np.array([[0, 1, 0], [2, 1, 1], [1, 1, 1], [1, 2, 1], [0, 2, 0]], dtype=np.float64)
    assert figure("mrr", score, target) == pytest.approx(0.5)
    assert figure("map", score, target) == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 2) / 2)
    first = (3 / np.log2(3) + 1 / 2) / (3 + 1 / np.log2(3))
    assert figure("ndcg", score, target) == pytest.approx((first + 1 / np.log2(3)) / 2)
    same = np.tile(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]), (30, 1))
    same[:, 1] = np.arange(60) // 2
    assert intervals("mrr", np.tile([0.0, 1.0], 30), same, 100)[1:] == (1.0, 1.0)


def test_listwise_loss_is_the_softmax_within_each_group() -> None:
    task = task_of("ranking", np.array([[1.0, 1.0], [0.0, 1.0], [2.0, 2.0], [2.0, 2.0]]), group="q")
    scores = torch.tensor([[2.0], [0.5], [1.0], [-1.0]])
    target = torch.tensor([[1.0, 1.0], [0.0, 1.0], [2.0, 2.0], [2.0, 2.0]])
    one = -scores[:2, 0].log_softmax(0)[0]
    two = -scores[2:, 0].log_softmax(0).mean()
    assert torch.allclose(task.loss(scores, target), (one + two) / 4)


def test_nearest_neighbours_by_hand() -> None:
    angle = np.deg2rad([0, 10, 90, 100, 104])
    vector = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    label = np.array([0, 0, 1, 0, 1])
    assert figure("recall_at_1", vector, label) == pytest.approx(2 / 5)
    # R is 2, 2, 1, 2, 1: rows 0 and 1 find one of two at the first place, row 3 none in two, rows 2 and 4 none in one.
    assert figure("map_at_r", vector, label) == pytest.approx((0.5 + 0.5 + 0 + 0 + 0) / 5)


def odd_rows() -> tuple[np.ndarray, np.ndarray]:
    """400 rows near a line in five columns; every twentieth lies off it, within the range of each column."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 1)) * np.ones((1, 5)) + 0.1 * generator.normal(size=(400, 5))
    is_odd = np.arange(400) % 20 == 0
    x[is_odd] = generator.normal(size=(20, 5))
    return x.astype(np.float32), is_odd


@pytest.mark.parametrize("family", ["principal", "isolation", "autoencoder"])
def test_families_of_anomalies_find_rows_that_break_the_pattern(family: str, tmp_path: Any) -> None:
    x, is_odd = odd_rows()
    task = task_of("anomaly", [None] * 400, share=0.05)
    shapes = Shapes({}, FlatSpec(tuple("abcde"), (0,) * 5))
    rows = Examples(400, {}, x, {"odd": task.encode(np.array([None] * 400, dtype=object))})

    def fitted() -> Any:
        model = REGISTRIES["family"].create(Component(family), shapes, {"odd": task})
        model.fit(rows, None, Context(seed=1, rounds=30, training=Training(batch=32, threads=1, precision="fp32")))
        return model

    model = fitted()
    scores = model.predict(rows)["odd"]
    least = 0.75 if family == "isolation" else 0.85
    assert figure("auc", task.figures(scores), is_odd.astype(np.int64)) > least
    assert task.decode(scores)[""].mean() == pytest.approx(0.05, abs=0.01)
    model.save(tmp_path / "one")
    fitted().save(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), "the same seed gave another model"
    other = REGISTRIES["family"].create(Component(family), shapes, {"odd": task})
    other.load(tmp_path / "one")
    assert np.array_equal(other.predict(rows)["odd"], scores)
    one = other.predict(rows.take(np.array([7])))["odd"]
    np.testing.assert_allclose(one, scores[7:8], rtol=1e-4, atol=1e-4)


def tokens() -> tuple[Examples, Task]:
    """Texts of codes 2 to 5; a 3 is tagged by what stands before it."""
    generator = np.random.default_rng(0)
    text = generator.integers(2, 6, (200, 6)).astype(np.int32)
    text[::2, 4:] = 0
    before = np.pad(text, ((0, 0), (1, 0)))[:, :-1]
    words = np.where(text == 3, np.where(before == 4, "X", "Y"), "O")
    cells = [" ".join(word for word, code in zip(row, codes, strict=True) if code) for row, codes in zip(words, text, strict=True)]
    task = task_of("tagging", cells)
    return Examples(200, {"text": text}, None, {"tags": task.encode(np.array(cells, dtype=object))}), task


SPEC = TensorSpec("int32", (6,), ragged=(0,), cardinality=6)


def test_lookup_and_network_tag_tokens_and_context_is_worth_something(tmp_path: Any) -> None:
    rows, task = tokens()
    shapes = Shapes({"text": SPEC}, FlatSpec((), ()), {"text": Component("lstm", {"width": 16, "embedding": 16})})
    found = {}
    for word in ("lookup", "network"):
        model = REGISTRIES["family"].create(Component(word), shapes, {"tags": task})
        model.fit(
            rows, None, Context(seed=1, rounds=12, training=Training(batch=32, threads=1, precision="fp32", learning_rate=0.01))
        )
        scores = model.predict(rows)["tags"]
        assert scores.shape == (200, 6, 3) and np.isnan(scores[0, 4:]).all() and np.isfinite(scores[1]).all()
        assert [len(row) for row in task.decode(scores)[""][:2]] == [4, 6]
        found[word] = figure("token_accuracy", task.figures(scores), task.natural(rows.targets["tags"]))
        model.save(tmp_path / word)
        other = REGISTRIES["family"].create(Component(word), shapes, {"tags": task})
        other.load(tmp_path / word)
        assert np.array_equal(other.predict(rows)["tags"], scores, equal_nan=True)
    assert 0.85 < found["lookup"] < 0.97 and found["network"] > 0.96


def test_tags_that_mark_no_entities_are_judged_by_token_accuracy_first() -> None:
    assert task_of("tagging", ["NOUN VERB", "VERB"]).metrics[0] == "token_accuracy"
    for cells in (["B-PER I-PER O", "O"], ["PER O", "LOC O"]):
        task = task_of("tagging", cells)
        assert task.metrics[0] == "entity_f1"
        other = REGISTRIES["task"].create(Component("tagging"))
        other.restore(task.state())
        assert other.metrics == task.metrics


def test_lookup_tags_the_steps_of_a_series_by_their_value(tmp_path: Path) -> None:
    """A series has no tokens: its values are what is looked up, each among the training values of like size."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 6, 2)).astype(np.float32)
    cells = [" ".join("high" if step > 0.5 else "low" for step in row) for row in values[:, :, 0]]
    values[::2, 4:], cells[::2] = np.nan, [" ".join(cell.split()[:4]) for cell in cells[::2]]
    task = task_of("tagging", cells)
    rows = Examples(200, {"walk": values}, None, {"tags": task.encode(np.array(cells, dtype=object))})
    shapes = Shapes({"walk": TensorSpec("float32", (6, 2), ragged=(0,))}, FlatSpec((), ()))
    model = REGISTRIES["family"].create(Component("lookup"), shapes, {"tags": task})
    model.fit(rows, None, Context())
    scores = model.predict(rows)["tags"]
    assert np.isnan(scores[0, 4:]).all() and np.isfinite(scores[1]).all()
    assert figure("token_accuracy", task.figures(scores), task.natural(rows.targets["tags"])) > 0.97
    model.save(tmp_path)
    other = REGISTRIES["family"].create(Component("lookup"), shapes, {"tags": task})
    other.load(tmp_path)
    assert np.array_equal(other.predict(rows)["tags"], scores, equal_nan=True)


def test_a_piece_of_a_batch_without_any_tag_changes_nothing() -> None:
    rows, task = tokens()
    tags = rows.targets["tags"].copy()
    tags[20:] = -1
    given = Examples(200, rows.arrays, None, {"tags": tags, "risk": np.arange(200) % 2})
    shapes = Shapes({"text": SPEC}, FlatSpec((), ()), {"text": Component("lstm", {"width": 4})})
    outputs = {"tags": task, "risk": task_of("binary", ["no", "yes"], positive="yes")}
    model = REGISTRIES["family"].create(Component("network"), shapes, outputs)
    fitted = model.fit(given, None, Context(training=Training(epochs=1, batch=32, accumulate=16, threads=1)))
    assert np.isfinite(fitted.history[0]["train_loss"])


def test_tags_and_tokens_of_other_lengths_are_an_error() -> None:
    rows, task = tokens()
    model = REGISTRIES["family"].create(Component("lookup"), Shapes({"text": SPEC}, FlatSpec((), ())), {"tags": task})
    with pytest.raises(ModelError, match="another number of tags than text has tokens"):
        model.fit(_cut(rows), None, Context())


def _cut(rows: Examples) -> Examples:
    """The same rows without their last token."""
    text = rows.arrays["text"].copy()
    last = (text != 0).sum(axis=1) - 1
    text[np.arange(len(text)), last] = 0
    return Examples(rows.num_rows, {"text": text}, None, rows.targets)


def test_an_encoder_without_steps_cannot_tag_and_idle_inputs_are_named() -> None:
    _, task = tokens()
    shapes = Shapes({"text": SPEC}, FlatSpec((), ()), {"text": Component("pooled")})
    with pytest.raises(ModelError, match="pooled gives one vector a row"):
        REGISTRIES["family"].create(Component("network"), shapes, {"tags": task}).cost()
    more = Shapes({"text": SPEC, "age": TensorSpec("float32", (1,))}, FlatSpec((), ()))
    with pytest.raises(ModelError, match="inputs: age would be read by no output"):
        REGISTRIES["family"].create(Component("network"), more, {"tags": task})
