"""The contract suite of tasks: `check_task(make, values)` for each file in lode/model/tasks, and for others.

Read `lode.model.contracts.Task` first: every check below is one of its sentences.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from lode.core.errors import DataError
from lode.model.contracts import Task


def check_task(make: Callable[[], Task], values: np.ndarray) -> None:
    """Everything below.

    make: gives an unfitted task; values: labels or numbers that it can learn, at least two different ones.
    """
    assert make().metrics, "a task names its metrics, the selecting one first"
    check_encoding(make, values)
    check_missing_is_marked(make, values)
    check_answers(make, values)
    check_parts(make, values)
    check_state_survives_json(make, values)
    check_loss_falls_towards_the_target(make, values)
    check_nothing_to_learn_is_an_error(make)


def check_encoding(make: Callable[[], Task], values: np.ndarray) -> None:
    """Codes are int64 and within the classes, numbers float32; one row a value, and every value is known."""
    task = _fitted(make, values)
    encoded = task.encode(values)
    assert len(encoded) == len(values) and encoded.dtype in (np.int64, np.float32)
    assert task.known(encoded).all() and task.num_scores >= 1
    assert len(task.truth(values)) == len(values) and task.strata(encoded).shape == (len(values),)
    if task.kind == "number":
        assert encoded.dtype == np.float32 and task.classes == () and task.num_scores == 1
    if task.kind == "classes":
        assert encoded.dtype == np.int64 and set(encoded.tolist()) == set(range(len(task.classes)))
        assert task.num_scores == (1 if len(task.classes) == 2 and task.num_scores == 1 else len(task.classes))


def check_missing_is_marked(make: Callable[[], Task], values: np.ndarray) -> None:
    """A missing value is -1 or NaN; so is a label that training never saw. No label may be an answer of its own."""
    task = _fitted(make, values)
    if task.kind in ("labels", "anomaly") or task.group is not None:
        return
    missing = task.encode(np.array([None], dtype=object))
    assert not task.known(missing).any()
    if task.kind == "classes":
        assert task.encode(np.array(["a label nobody ever saw"], dtype=object))[0] == -1


def check_answers(make: Callable[[], Task], values: np.ndarray) -> None:
    """Scores that are certain of each value decode to that value; probabilities are between 0 and 1 and, of classes, sum to 1.

    The columns are those that `answers` tells.
    """
    task = _fitted(make, values)
    scores = certain(task, values)
    answers = task.decode(scores)
    assert list(answers) == [column.name for column in task.answers()]
    assert all(len(answer) == len(values) for answer in answers.values())
    assert len(task.figures(scores)) == len(values) and len(task.decode(scores[:0])[""]) == 0
    if task.kind in ("number", "quantiles"):
        np.testing.assert_allclose(answers[""], values.astype(np.float64), rtol=1e-5, atol=1e-5)
    if task.kind in ("classes", "labels", "tags"):
        assert np.array_equal(task.encode(answers[""]), task.encode(values)), "answers are labels that the data have"
    for temperature in (1.0, 3.0):
        found = task.decode(scores / 10, temperature)
        shares = [share for name, share in found.items() if name.startswith("probability.")]
        assert all(p.dtype == np.float64 and (p >= 0).all() and (p <= 1).all() for p in shares)
        if task.kind == "classes":
            np.testing.assert_allclose(np.sum(shares, axis=0), 1.0, rtol=1e-12)


def check_parts(make: Callable[[], Task], values: np.ndarray) -> None:
    """The plain problems make up the scores, and each has a target a row."""
    task = _fitted(make, values)
    encoded, parts = task.encode(values), task.parts()
    if parts:
        assert sum(part.num_scores for part in parts) == task.num_scores
        assert len({part.name for part in parts}) == len(parts)
        assert [target.shape for target in task.targets(encoded)] == [(len(values),)] * len(parts)
    prior = task.prior(encoded)
    assert prior.dtype == np.float32 and prior.shape[-1] == task.num_scores and np.isfinite(prior).all()


def check_state_survives_json(make: Callable[[], Task], values: np.ndarray) -> None:
    """A task that took over the state is the same task, bit for bit."""
    task, other = _fitted(make, values), make()
    other.restore(json.loads(json.dumps(task.state())))
    assert other.classes == task.classes and other.num_scores == task.num_scores
    assert np.array_equal(other.encode(values), task.encode(values))
    shape = (7, task.num_steps, task.num_scores) if task.steps else (7, task.num_scores)
    scores = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for name, answer in task.decode(scores).items():
        again = other.decode(scores)[name]
        assert again.dtype == answer.dtype and np.array_equal(again, answer), f'answer "{name}" changed'


def check_loss_falls_towards_the_target(make: Callable[[], Task], values: np.ndarray) -> None:
    """The loss is a finite scalar with a gradient, and lower where the scores are right."""
    import torch

    task = _fitted(make, values)
    if task.kind == "anomaly":
        return  # its families have a loss of their own
    target = torch.from_numpy(task.encode(values))
    right = torch.from_numpy(certain(task, values)).requires_grad_()
    loss = task.loss(right, target)
    loss.backward()
    assert loss.shape == () and bool(torch.isfinite(loss)) and right.grad is not None
    wrong = task.loss(right.detach().roll(1, 0) if task.kind == "vector" else 1 - right.detach(), target)
    assert float(loss.detach()) < float(wrong), "wrong scores must cost more than right ones"


def check_nothing_to_learn_is_an_error(make: Callable[[], Task]) -> None:
    """No value at all is the user's mistake, and said so; an anomaly needs none."""
    if make().kind == "anomaly" or make().group is not None:
        return
    with pytest.raises(DataError):
        make().fit(np.array([None, None], dtype=object))


def check_loads_no_torch(modules: list[str]) -> None:
    """Importing the files of tasks loads no torch."""
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=False)
    assert found.returncode == 0, "a task loaded torch at import; import it inside `loss`"


def _fitted(make: Callable[[], Task], values: np.ndarray) -> Task:
    task = make()
    task.fit(values)
    return task


def certain(task: Task, values: np.ndarray) -> np.ndarray:
    """Scores (N, K), or (N, T, K), that leave no doubt about each value."""
    encoded = task.encode(values)
    if task.kind in ("number", "quantiles"):
        return np.tile(encoded[:, None], (1, task.num_scores))
    if task.kind == "labels":
        return np.where(encoded == 1, 20.0, -20.0).astype(np.float32)
    if task.kind in ("anomaly", "relevance"):
        return encoded.reshape(len(values), -1)[:, :1].astype(np.float32) * 20.0
    if task.kind == "classes" and task.num_scores == 1:
        return np.where(encoded == 1, 20.0, -20.0).astype(np.float32)[:, None]
    scores = 20.0 * np.eye(task.num_scores, dtype=np.float32)[encoded]
    if task.steps:
        scores[encoded < 0] = np.nan
    return scores
