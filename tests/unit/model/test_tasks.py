"""Tasks: labels in every way of writing them, the errors a user can cause, and the text-book example."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from lode.core.errors import DataError
from lode.model.labels import canonical
from lode.model.tasks.binary import Binary
from lode.model.tasks.multiclass import Multiclass
from lode.model.tasks.number import Number


def objects(*values: Any) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("value", "word"),
    [
        *[(value, "1") for value in (1, 1.0, "1", "1.0", " 1 ", np.int64(1), np.float32(1))],
        *[(-0.0, "0"), (0.5, "0.5"), ("0.5", "0.5"), (10**30, "1" + "0" * 30)],
        *[(True, "true"), (np.bool_(True), "true"), ("True", "true"), ("FALSE", "false")],
        *[(word, word) for word in ("yes", "No", "007", "+1", "1e3", ">50K")],
        *[(" >50K", ">50K"), (None, None), (float("nan"), None), ("", None), ("  ", None)],
        *[("0", "0"), ("-1.0", "-1"), ("-0", "-0"), ("9" * 5000, "9" * 5000)],
    ],
)
def test_every_way_of_writing_a_label_gives_one_word(value: Any, word: str | None) -> None:
    assert canonical(value) == word


@pytest.mark.parametrize("positive", [1, "1", 1.0, "1.0"])
@pytest.mark.parametrize("values", [objects("0", "1", "1"), objects(0, 1, 1), np.array([0, 1, 1]), np.array([0.0, 1.0, 1.0])])
def test_positive_may_be_written_in_another_type_than_the_data(positive: Any, values: np.ndarray) -> None:
    task = Binary(positive=positive)
    task.fit(values)
    assert task.classes == ("0", "1")
    assert task.encode(values).tolist() == [0, 1, 1]


def test_positive_decides_the_direction_and_not_the_order() -> None:
    task = Binary(positive=0)
    task.fit(np.array([0, 1, 1]))
    assert task.classes == ("1", "0")
    assert task.encode(np.array([0, 1, 1])).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("values", "dtype", "labels"),
    [
        (np.array([2, 5]), np.int64, [2, 5]),
        (np.array([2.0, 5.0]), np.int64, [2, 5]),
        (np.array([0.5, 1.5]), np.float64, [0.5, 1.5]),
        (np.array([False, True]), np.bool_, [False, True]),
        (objects("2", "5"), object, ["2", "5"]),
        (objects("no", "yes"), object, ["no", "yes"]),
    ],
)
def test_answers_have_the_form_of_the_data(values: np.ndarray, dtype: type, labels: list[Any]) -> None:
    task = Multiclass()
    task.fit(values)
    again = Multiclass()
    again.restore(json.loads(json.dumps(task.state())))
    answer = again.decode(np.array([[5.0, 0.0], [0.0, 5.0]], dtype=np.float32))[""]
    assert answer.dtype == dtype and answer.tolist() == labels


def test_positive_that_is_not_named_is_an_error_with_the_values_found() -> None:
    with pytest.raises(DataError, match=r'`positive` is not named, found the labels "0" \(2 rows\), "1" \(1 rows\)'):
        Binary().fit(np.array([0, 1, 0]))


def test_positive_that_never_occurs_is_an_error_with_the_values_found() -> None:
    with pytest.raises(DataError, match=r'positive "yse" never occurs.*"no" \(1 rows\), "yes" \(2 rows\).*mean "yes"'):
        Binary(positive="yse").fit(objects("yes", "no", "yes"))


def test_one_class_alone_is_an_error() -> None:
    with pytest.raises(DataError, match=r'only the label "1" \(3 rows\) found'):
        Binary(positive=1).fit(np.array([1, 1, 1]))
    with pytest.raises(DataError, match=r'only the label "a" \(2 rows\) found'):
        Multiclass().fit(objects("a", "a", None))


def test_three_labels_are_no_binary_output() -> None:
    with pytest.raises(DataError, match=r"3 labels found .*Use `type: multiclass`"):
        Binary(positive=1).fit(np.array([0, 1, 2]))


def test_classes_are_in_numeric_order_where_all_are_numbers() -> None:
    task = Multiclass()
    task.fit(objects("10", "9", "-1"))
    assert task.classes == ("-1", "9", "10")
    task.fit(objects("10", "9", "x"))
    assert task.classes == ("10", "9", "x")


def test_labels_that_are_missing_or_unseen_get_minus_one() -> None:
    task = Multiclass()
    task.fit(objects("a", "b", None, ""))
    assert task.encode(objects("b", None, "", "c", float("nan"))).tolist() == [1, -1, -1, -1, -1]


def test_temperature_softens_probabilities_and_leaves_the_label() -> None:
    task = Binary(positive="yes")
    task.fit(objects("yes", "no"))
    scores = np.array([[3.0], [-800.0], [0.0]], dtype=np.float32)
    sharp, soft = task.decode(scores), task.decode(scores, temperature=2.0)
    assert soft["probability.yes"][0] < sharp["probability.yes"][0]
    assert soft[""].tolist() == sharp[""].tolist() == ["yes", "no", "yes"]
    assert soft["probability.yes"][0] == pytest.approx(1 / (1 + np.exp(-1.5)))


def test_number_is_standardised_by_the_training_rows_and_back() -> None:
    task = Number()
    values = np.array([10.0, 20.0, 30.0, np.nan, np.inf])
    task.fit(values)
    encoded = task.encode(values)
    assert encoded[:3].mean() == pytest.approx(0) and encoded[:3].std() == pytest.approx(1)
    assert np.isnan(encoded[3:]).all()
    np.testing.assert_allclose(task.decode(encoded[:3, None])[""], values[:3])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300, -7.0])
def test_number_without_spread_is_handled(constant: float) -> None:
    task = Number()
    task.fit(np.full(1000, constant))
    encoded = task.encode(np.full(3, constant))
    assert np.isfinite(encoded).all() and np.abs(encoded).max() < 1e-3
    assert task.decode(np.zeros((1, 1), dtype=np.float32))[""][0] == pytest.approx(constant)


def test_words_in_a_number_output_are_an_error() -> None:
    with pytest.raises(DataError, match=r"a number is needed"):
        Number().fit(objects(1.0, "many"))
    with pytest.raises(DataError, match=r"no finite number"):
        Number().fit(objects(None, float("inf")))


def test_the_text_book_example_comes_out_right() -> None:
    squared = Number().loss(torch.tensor([[2.5], [3.5], [4.5]]), torch.tensor([2.0, 3.0, 4.0]))
    assert squared.item() == pytest.approx(0.25)
    for probability, expected in ((0.8, 0.2231), (0.6, 0.5108)):
        logit = torch.logit(torch.tensor([[probability]])).requires_grad_()
        loss = Binary(positive=1).loss(logit, torch.tensor([1]))
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=5e-5)
        assert logit.grad is not None and logit.grad.item() == pytest.approx(probability - 1)


def test_multiclass_loss_equals_the_logarithm_of_the_probability() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    expected = -(torch.log_softmax(scores, 1)[0, 2] + torch.log_softmax(scores, 1)[1, 0]) / 2
    assert Multiclass().loss(scores, torch.tensor([2, 0])).item() == pytest.approx(expected.item())
