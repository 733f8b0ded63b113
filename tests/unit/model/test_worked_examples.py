"""Textbook examples that must come out right by hand, by the tasks' losses and by the loop: MSE 0.25; cross-entropy 0.2231 and 0.5108."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lode.core.types import TensorSpec
from lode.model.batches import Batch, Rows
from lode.model.choices import Workload, decide
from lode.model.contracts import Context, Examples
from lode.model.fit import Job, Objective, fit
from lode.model.training import Training
from tests.unit.model.network_samples import task, tasks


def test_the_mean_square_of_three_halves_is_a_quarter() -> None:
    """(2, 3, 4) against (2.5, 3.5, 4.5): each differs by 0.5."""
    answers, truth = np.array([2.0, 3.0, 4.0]), np.array([2.5, 3.5, 4.5])
    assert ((answers - truth) ** 2).mean() == 0.25
    number = task("number", truth)
    target = torch.from_numpy(number.encode(truth))
    # The task standardises: its loss is in units of the spread, squared
    scores = torch.from_numpy(number.encode(answers))[:, None]
    loss = number.loss(scores, target).item()
    assert loss * truth.std() ** 2 == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(("probability", "wanted"), [(0.8, 0.2231), (0.6, 0.5108)])
def test_the_cross_entropy_of_a_probability(probability: float, wanted: float) -> None:
    """-ln 0.8 = 0.2231 and -ln 0.6 = 0.5108; the gradient in the logit is p - 1."""
    assert -math.log(probability) == pytest.approx(wanted, abs=5e-5)
    logit = torch.tensor([[math.log(probability / (1 - probability))]], requires_grad=True)
    loss = tasks()["risk"].loss(logit, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(wanted, abs=5e-5)
    assert logit.grad is not None and logit.grad.item() == pytest.approx(probability - 1.0, abs=1e-6)


def test_the_same_by_several_classes() -> None:
    """p = 0.6 of three classes with logits ln 0.6, ln 0.3, ln 0.1."""
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().requires_grad_()
    loss = tasks()["kind"].loss(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.5108, abs=5e-5)
    assert logits.grad is not None and logits.grad[0].tolist() == pytest.approx([-0.4, 0.3, 0.1], abs=1e-6)


def test_one_step_of_the_loop_by_hand() -> None:
    """One row x = 1 of the positive class, weight ln 4 (p = 0.8), rate 0.5: the weight becomes ln 4 + 0.5 * 0.2."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, math.log(4.0))
    risk = tasks()["risk"]

    def loss(batch: Batch) -> torch.Tensor:
        return risk.loss(module(batch.inputs["x"]), batch.targets["y"])

    rows = Rows(
        Examples(1, {"x": np.ones((1, 1), np.float32)}, None, {"y": np.array([1])}), {"x": TensorSpec("float32", (1,))}, "cpu"
    )
    training = Training(
        epochs=1, optimizer="sgd", momentum=0.0, learning_rate=0.5, weight_decay=0.0, schedule="constant", warmup=0.0
    )
    fitted = fit(
        Job(module, [Objective([module.weight], loss)], rows, None),
        decide(training, Context(), Workload(1, 2)),
        training,
        Context(),
    )
    assert fitted.history[0]["train_loss"] == pytest.approx(0.2231, abs=5e-5)
    assert module.weight.item() == pytest.approx(math.log(4.0) + 0.5 * 0.2, abs=1e-6)
