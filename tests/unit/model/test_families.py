"""The families that need no torch: exact priors, equality with scikit-learn, texts, small folds, threads, odd names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from lode.core.errors import ModelError
from lode.core.types import FlatSpec
from lode.model.contracts import Context, Examples, Family, Shapes, Task
from lode.model.families import trees
from lode.model.families.constant import Constant
from lode.model.families.linear import Linear, log_ratios
from lode.model.families.trees import Trees
from lode.model.tasks.binary import Binary
from lode.model.tasks.multiclass import Multiclass
from lode.model.tasks.number import Number

FLAT = [Constant, Linear, Trees]


def task_of(values: Any) -> Task:
    values = np.asarray(values)
    task: Task = Number() if values.dtype.kind == "f" else Multiclass() if values.max() > 1 else Binary(positive=1)
    task.fit(values)
    return task


def shapes(*cardinalities: int) -> Shapes:
    return Shapes({}, FlatSpec(tuple(f"c{place}" for place in range(len(cardinalities))), cardinalities))


def rows(flat: Any, targets: Mapping[str, np.ndarray] | np.ndarray) -> Examples:
    named = targets if isinstance(targets, Mapping) else {"y": targets}
    return Examples(flat.shape[0], {}, flat, named)


def numbers(num_rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    flat = generator.normal(3, 5, (num_rows, 3)).astype(np.float32)
    return flat, (flat[:, 0] + generator.normal(0, 3, num_rows) > 3).astype(np.int64)


def test_constant_gives_log_odds_log_shares_and_the_mean() -> None:
    targets = {
        "b": np.array([0, 1, 1, 1, -1]),
        "m": np.array([0, 1, 1, 2, -1]),
        "n": np.array([1, 2, 3, 4, np.nan], np.float32),
    }
    family = Constant(shapes(0), {"b": task_of([0, 1]), "m": task_of([0, 1, 2]), "n": task_of([0.0, 1.0])})
    flat = np.zeros((5, 1), np.float32)
    family.fit(rows(flat, targets), None, Context())
    scores = family.predict(rows(flat[:2], {}))
    np.testing.assert_allclose(scores["b"], np.full((2, 1), np.log(3)), rtol=1e-6)
    np.testing.assert_allclose(np.exp(scores["m"][0]), [0.25, 0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(scores["n"][:, 0], 2.5)


@pytest.mark.parametrize("family", FLAT)
def test_no_row_with_a_target_is_an_error_that_names_the_output(family: type[Family]) -> None:
    made = family(shapes(0), {"churn": task_of([0, 1])})
    with pytest.raises(ModelError, match=r"outputs\.churn: no training"):
        made.fit(rows(np.zeros((3, 1), np.float32), {"churn": np.full(3, -1)}), None, Context())


@pytest.mark.parametrize("family", FLAT)
@pytest.mark.parametrize("target", [[1] * 30, [0, 2] * 15, [2] * 30], ids=["one class", "two of three", "one of three"])
def test_a_fold_without_some_classes_gives_finite_scores(family: type[Family], target: list[int]) -> None:
    flat = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    task = task_of([0, 1] if max(target) == 1 else [0, 1, 2])
    made = family(shapes(0, 0), {"y": task})
    made.fit(rows(flat, np.array(target)), None, Context(rounds=5))
    scores = made.predict(rows(flat, {}))["y"]
    assert np.isfinite(scores).all()
    if task.num_scores == 3:
        assert set(scores.argmax(axis=1).tolist()) <= set(target)
    else:
        assert (scores > 0).all()


@pytest.mark.parametrize("family", FLAT)
def test_columns_that_say_nothing_are_no_problem(family: type[Family]) -> None:
    nothing = np.column_stack([np.full(50, np.nan), np.full(50, 7.0)]).astype(np.float32)
    for flat in (nothing, nothing[:, :0]):
        made = family(shapes(*[0] * flat.shape[1]), {"y": task_of([0, 1])})
        made.fit(rows(flat, np.arange(50) % 2), None, Context(rounds=3))
        np.testing.assert_allclose(made.predict(rows(flat, {}))["y"], 0, atol=1e-6)


def test_linear_equals_logistic_regression_on_standardised_numbers() -> None:
    flat, target = numbers()
    family = Linear(shapes(0, 0, 0), {"y": task_of([0, 1])}, penalty=2.0)
    family.fit(rows(flat, target), None, Context())
    z = (flat.astype(np.float64) - flat.mean(0, dtype=np.float64)) / flat.std(0, dtype=np.float64)
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(z, target).decision_function(z)
    np.testing.assert_allclose(family.predict(rows(flat, {}))["y"][:, 0], expected, atol=2e-3)


def test_linear_equals_ridge_with_filled_in_numbers_and_one_hot_categories() -> None:
    generator = np.random.default_rng(0)
    number, code = generator.normal(size=60), generator.integers(0, 3, 60)
    target = (number + code + generator.normal(0, 0.1, 60)).astype(np.float32)
    number[::6] = np.nan
    family = Linear(shapes(0, 3), {"y": task_of([0.0, 1.0])}, penalty=0.5)
    flat = np.column_stack([number, code]).astype(np.float32)
    family.fit(rows(flat, target), None, Context())
    missing = np.isnan(number)
    filled = np.where(missing, np.nanmedian(number.astype(np.float32)), number)
    design = np.column_stack([(filled - filled.mean()) / filled.std(), missing, np.eye(3)[code]])
    expected = Ridge(alpha=0.5).fit(design, target).predict(design)
    np.testing.assert_allclose(family.predict(rows(flat, {}))["y"][:, 0], expected, atol=1e-4)


def text_rows(num_rows: int = 300) -> tuple[Any, np.ndarray]:
    generator = np.random.default_rng(0)
    terms = generator.random((num_rows, 40)) * (generator.random((num_rows, 40)) < 0.1)
    number, code = generator.normal(size=num_rows), generator.integers(0, 4, num_rows)
    number[::9] = np.nan
    target = (terms[:, 0] + terms[:, 1] > 0.1).astype(np.int64)
    return sparse.csr_matrix(np.column_stack([number, terms, code]).astype(np.float32)), target


@pytest.mark.parametrize("family", [Linear, Trees])
def test_texts_come_as_a_sparse_matrix_and_are_learnt(family: type[Family], tmp_path: Path) -> None:
    flat, target = text_rows()
    spec = shapes(0, *[-1] * 40, 4)
    made = family(spec, {"y": task_of([0, 1])})
    made.fit(rows(flat, target), None, Context(rounds=60))
    scores = made.predict(rows(flat, {}))["y"]
    assert ((scores[:, 0] > 0) == target).mean() > 0.85
    dense = family(spec, {"y": task_of([0, 1])})
    made.save(tmp_path)
    dense.load(tmp_path)
    np.testing.assert_allclose(dense.predict(rows(flat[:5], {}))["y"], scores[:5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [[0, 1, 1, 0], [0, 1, 2, 2]])
def test_log_ratios_are_those_of_the_paper_and_of_several_classes_the_largest(target: list[int]) -> None:
    terms = sparse.csr_matrix(np.array([[0.2, 0.0, 0.9], [0.0, 0.5, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 0.4]]))
    present, classes = terms.toarray() > 0, np.array(target)
    found = []
    for code in np.unique(classes):
        p, q = 1.0 + present[classes == code].sum(axis=0), 1.0 + present[classes != code].sum(axis=0)
        found.append(np.abs(np.log((p / p.sum()) / (q / q.sum()))))
    np.testing.assert_allclose(log_ratios(terms, classes), np.max(found, axis=0))


def test_linear_with_bayes_is_logistic_regression_on_scaled_terms_and_predicts_unscaled_ones() -> None:
    flat, target = text_rows()
    spec, terms = shapes(0, *[-1] * 40, 4), slice(1, 41)
    made = Linear(spec, {"y": task_of([0, 1])}, penalty=0.3, bayes=True, iterations=2_000)
    made.fit(rows(flat, target), None, Context())
    by_hand = flat.tolil()
    by_hand[:, terms] = flat[:, terms] @ sparse.diags_array(log_ratios(flat[:, terms], target))
    peer = Linear(spec, {"y": task_of([0, 1])}, penalty=0.3, iterations=2_000)
    peer.fit(rows(by_hand.tocsr(), target), None, Context())
    expected = peer.predict(rows(by_hand.tocsr(), {}))["y"]
    np.testing.assert_allclose(made.predict(rows(flat, {}))["y"], expected, atol=2e-2)
    plain = Linear(spec, {"y": task_of([0, 1])}, penalty=0.3)
    plain.fit(rows(flat, target), None, Context())
    assert np.abs(plain.predict(rows(flat, {}))["y"] - expected).max() > 0.1


def test_bayes_changes_nothing_where_there_are_no_texts() -> None:
    flat, target = numbers()
    made = [Linear(shapes(0, 0, 0), {"y": task_of([0, 1])}, bayes=word) for word in (False, True)]
    for each in made:
        each.fit(rows(flat, target), None, Context())
    assert (made[0].predict(rows(flat, {}))["y"] == made[1].predict(rows(flat, {}))["y"]).all()


@pytest.mark.parametrize("family", [Linear, Trees])
def test_codes_and_numbers_that_training_never_saw_are_handled(family: type[Family]) -> None:
    flat = np.column_stack([np.arange(100) % 7, np.arange(100) % 3]).astype(np.float32)
    made = family(shapes(0, 4), {"y": task_of([0, 1])})
    made.fit(rows(flat, np.arange(100) % 2), None, Context(rounds=5))
    odd = np.array([[np.inf, 3], [-1e38, 0], [np.nan, np.nan], [0, 99], [0, -1]], dtype=np.float32)
    assert np.isfinite(made.predict(rows(odd, {}))["y"]).all()


def test_linear_chooses_a_strong_penalty_for_noise_and_says_so() -> None:
    generator = np.random.default_rng(0)
    flat, target = generator.normal(size=(60, 30)).astype(np.float32), generator.integers(0, 2, 60)
    fitted = Linear(shapes(*[0] * 30), {"y": task_of([0, 1])}).fit(rows(flat, target), None, Context())
    assert fitted.choices["penalty.y"] >= 10.0


def test_trees_do_exactly_the_rounds_asked_for_and_find_them_on_stop_rows() -> None:
    flat, target = numbers()
    task = {"y": task_of([0, 1])}
    for asked in (1, 7):
        family = Trees(shapes(0, 0, 0), task)
        assert family.fit(rows(flat, target), None, Context(rounds=asked)).rounds == asked
        assert family._boosters["y", 0].num_trees() == asked
    stopped = Trees(shapes(0, 0, 0), task)
    fitted = stopped.fit(rows(flat, target), rows(*numbers(200, 1)), Context())
    assert fitted.rounds == stopped._boosters["y", 0].num_trees() < 2000
    searched = Trees(shapes(0, 0, 0), task).fit(rows(flat, target), None, Context())
    assert searched.rounds is not None and 1 <= searched.rounds < 500
    assert fitted.history and set(fitted.history[0]) == {"round", "loss"}


def test_trees_afford_a_tenth_of_the_rounds_where_cells_are_stored_with_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_MOST_CELLS", 1.2e6)
    flat, target = numbers()
    totals = []
    for matrix, spec in ((flat, shapes(0, 0, 0)), (sparse.csr_matrix(flat), shapes(-1, -1, -1))):
        context = Context(progress=lambda what, done, total, figures: totals.append(total))
        Trees(spec, {"y": task_of([0, 1])}, patience=1).fit(rows(matrix, target), rows(matrix, target), context)
    assert (totals[0], totals[-1]) == (1000, 100)


def test_trees_of_texts_have_one_thread_until_they_store_ten_times_what_pays_in_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(trees, "_CELLS_A_THREAD", 600)
    flat, target = numbers()
    told = []
    for matrix, spec in ((flat, shapes(0, 0, 0)), (sparse.csr_matrix(flat), shapes(-1, -1, -1))):
        fitted = Trees(spec, {"y": task_of([0, 1])}).fit(rows(matrix, target), None, Context(rounds=2))
        told.append(fitted.choices["num_threads.y"])
    assert told == [2, 1]


def test_trees_search_their_rounds_on_one_part_of_texts_that_cannot_afford_all(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, target = numbers()
    searched: list[int] = []

    def cv(params: Any, data: Any, most: int, *, folds: list[Any], callbacks: Any) -> dict[str, list[float]]:
        searched.append(len(folds))
        return {"valid binary_logloss-mean": [0.5]}

    monkeypatch.setattr(trees.lightgbm, "cv", cv)
    for most_cells in (1e9, 1.2e6):
        monkeypatch.setattr(trees, "_MOST_CELLS", most_cells)
        for matrix, spec in ((flat, shapes(0, 0, 0)), (sparse.csr_matrix(flat), shapes(-1, -1, -1))):
            Trees(spec, {"y": task_of([0, 1])}).fit(rows(matrix, target), None, Context())
    assert searched == [5, 5, 5, 1]


def test_trees_of_classes_have_one_tree_a_class_and_round() -> None:
    flat, _ = numbers()
    target = np.digitize(flat[:, 0], [0, 5]).astype(np.int64)
    family = Trees(shapes(0, 0, 0), {"y": task_of([0, 1, 2])})
    family.fit(rows(flat, target), None, Context(rounds=10))
    assert family._boosters["y", 0].num_trees() == 30
    assert (family.predict(rows(flat, {}))["y"].argmax(1) == target).mean() > 0.95


def test_trees_do_not_depend_on_the_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat, target = numbers(2000)
    saved = []
    for threads in (1, 2):
        monkeypatch.setattr(trees, "_threads", lambda matrix, threads=threads: threads)
        family = Trees(shapes(0, 0, 0), {"y": task_of([0, 1])})
        assert family.fit(rows(flat, target), None, Context(rounds=20)).choices["num_threads.y"] == threads
        family.save(tmp_path / str(threads))
        saved.append((tmp_path / str(threads) / "trees-y.txt").read_bytes())
        scores = family.predict(rows(flat, {}))["y"]
        one = np.concatenate([family.predict(rows(flat[row : row + 1], {}))["y"] for row in range(20)])
        assert np.array_equal(one, scores[:20])
    assert saved[0] == saved[1]
    assert b"num_threads" not in saved[0] and b"parameters" not in saved[0]


@pytest.mark.parametrize("family", FLAT)
def test_outputs_may_have_any_name(family: type[Family], tmp_path: Path) -> None:
    flat, target = numbers(100)
    name = "default next/month? \u00fc"
    made, other = (family(shapes(0, 0, 0), {name: task_of([0, 1])}) for _ in range(2))
    made.fit(rows(flat, {name: target}), None, Context(rounds=3))
    made.save(tmp_path / "model")
    other.load(tmp_path / "model")
    assert np.array_equal(made.predict(rows(flat, {}))[name], other.predict(rows(flat, {}))[name])
    assert all(path.parent == tmp_path / "model" for path in (tmp_path / "model").rglob("*"))
