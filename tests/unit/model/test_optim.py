"""The update rules are torch's, step for step; the learning rate is the one that the docs name."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lode.model.optim import build, learning_rate
from lode.model.training import Training


def _parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((7, 5), (5,), (3, 2, 2, 2))]


def _descend(parameters: list[torch.nn.Parameter], step: object, steps: int = 6) -> None:
    for number in range(steps):
        loss = sum((parameter**2 * (number + 1)).sum() + parameter.sum() for parameter in parameters)
        loss.backward()
        step()
        for parameter in parameters:
            parameter.grad = None


PEERS = {
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("word", PEERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_update_rule_is_that_of_torch(word: str, decay: float) -> None:
    ours, theirs = _parameters(), _parameters()
    own = build(ours, Training(optimizer=word), weight_decay=decay)
    _descend(ours, lambda: own.step(0.01))
    groups = [
        {"params": [p for p in theirs if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0},
    ]
    _descend(theirs, PEERS[word](groups).step)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("word", PEERS)
def test_an_optimizer_goes_on_bitwise_from_its_state(word: str) -> None:
    whole, parts = _parameters(), _parameters()
    first = build(whole, Training(optimizer=word), weight_decay=0.1)
    _descend(whole, lambda: first.step(0.01))
    _descend(whole, lambda: first.step(0.01))
    second = build(parts, Training(optimizer=word), weight_decay=0.1)
    _descend(parts, lambda: second.step(0.01))
    third = build(parts, Training(optimizer=word), weight_decay=0.1)
    third.restore({name: tensor.clone() for name, tensor in second.state().items()})
    _descend(parts, lambda: third.step(0.01))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters = _parameters()
    before = parameters[0].detach().clone()
    parameters[1].sum().backward()
    build(parameters, Training(), weight_decay=0.1).step(0.01)
    assert torch.equal(parameters[0], before)


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, peak=2.0, schedule="cosine", warmup=0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == 2.0 and max(rates) == 2.0
    assert rates[55] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(low < high for high, low in itertools.pairwise(rates[10:])) and rates[-1] < 0.01


def test_a_constant_rate_is_constant_after_the_warm_up() -> None:
    rates = [learning_rate(step, 10, peak=0.5, schedule="constant", warmup=0.0) for step in range(10)]
    assert rates == [0.5] * 10
