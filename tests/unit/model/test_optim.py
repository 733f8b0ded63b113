"""The update rules are torch's or their paper's, step for step; penalties and clipping do what their formulas say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context
from lode.model.optim import Optimizer, inner_weights
from lode.model.rules import RULES, orthogonal
from lode.model.scaling import Scaler
from lode.model.training import Training


def choices_of(optimizer: str, decay: float = 0.0, **options: object) -> Choices:
    training = Training(optimizer=optimizer, weight_decay=decay, **options)
    return decide(training, Context(), Workload(64, 10))


def _parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((7, 5), (5,), (3, 2, 2, 2))]


def _descend(parameters: list[torch.nn.Parameter], step: Callable[[], None], steps: int = 6) -> None:
    for number in range(steps):
        loss = sum((parameter**2 * (number + 1)).sum() + parameter.sum() for parameter in parameters)
        loss.backward()
        step()
        for parameter in parameters:
            parameter.grad = None


class _Lion(torch.optim.Optimizer):
    """Chen 2023, arXiv 2302.06675, appendix A, line by line."""

    def __init__(self, groups: list, lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                update = (0.9 * mean + 0.1 * p.grad).sign()
                p -= group["lr"] * (update + group["weight_decay"] * p)
                mean.copy_(0.99 * mean + 0.01 * p.grad)


OPTIONS: dict[str, dict[str, object]] = {"plain": {"momentum": 0.0}, "momentum": {"nesterov": False}, "slow": {"momentum": 0.5}}
PEERS = {
    ("adam", ""): lambda groups: torch.optim.Adam(groups, lr=0.01),
    ("adamw", ""): lambda groups: torch.optim.AdamW(groups, lr=0.01),
    ("sgd", ""): lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True),
    ("sgd", "plain"): lambda groups: torch.optim.SGD(groups, lr=0.01),
    ("sgd", "momentum"): lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    ("rmsprop", ""): lambda groups: torch.optim.RMSprop(groups, lr=0.01),
    ("rmsprop", "slow"): lambda groups: torch.optim.RMSprop(groups, lr=0.01, momentum=0.5),
    ("adagrad", ""): lambda groups: torch.optim.Adagrad(groups, lr=0.01),
    ("lion", ""): lambda groups: _Lion(groups, lr=0.01),
}


@pytest.mark.parametrize(("word", "how"), PEERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_update_rule_is_that_of_torch_or_its_paper(word: str, how: str, decay: float) -> None:
    ours, theirs = _parameters(), _parameters()
    own = Optimizer(ours, choices_of(word, decay, **OPTIONS.get(how, {})))
    _descend(ours, lambda: own.step(0.01))
    groups = [
        {"params": [p for p in theirs if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0},
    ]
    _descend(theirs, PEERS[word, how](groups).step)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_that_of_torch_and_leaves_the_rest_to_adamw(nesterov: bool) -> None:
    ours, theirs = _parameters(), _parameters()
    own = Optimizer(ours, choices_of("muon", 0.1, nesterov=nesterov), {id(ours[0])})
    _descend(ours, lambda: own.step(0.01))
    muon = torch.optim.Muon([theirs[0]], lr=0.01, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": [theirs[1]], "weight_decay": 0.0}, {"params": [theirs[2]], "weight_decay": 0.1}]
    adamw = torch.optim.AdamW(groups, lr=0.01)
    _descend(theirs, lambda: (muon.step(), adamw.step()))
    # bf16 inside, whose products of one matrix and of a stack of them round differently
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=6 * 0.01 * 0.2 * 7**0.5 * 0.02)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_newton_and_schulz_make_matrices_nearly_orthogonal() -> None:
    for shape in ((2, 8, 5), (1, 4, 9)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        values = torch.linalg.svdvals(orthogonal(matrices).float())
        assert values.min() > 0.5 and values.max() < 1.5


def test_muon_moves_inner_weights_and_no_head() -> None:
    module = torch.nn.ModuleDict({"trunk": torch.nn.Linear(3, 3), "heads": torch.nn.ModuleList([torch.nn.Linear(3, 2)])})
    assert inner_weights(module) == {id(module["trunk"].weight)}


@pytest.mark.parametrize("word", RULES)
def test_an_optimizer_goes_on_bitwise_from_its_state(word: str) -> None:
    def made(parameters: list[torch.nn.Parameter]) -> Optimizer:
        return Optimizer(parameters, choices_of(word, 0.1), {id(parameters[0])} if word == "muon" else ())

    whole, parts = _parameters(), _parameters()
    first = made(whole)
    _descend(whole, lambda: first.step(0.01))
    _descend(whole, lambda: first.step(0.01))
    second = made(parts)
    _descend(parts, lambda: second.step(0.01))
    third = made(parts)
    third.restore({name: tensor.clone() for name, tensor in second.state().items()})
    _descend(parts, lambda: third.step(0.01))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters = _parameters()
    before = parameters[0].detach().clone()
    parameters[1].sum().backward()
    Optimizer(parameters, choices_of("adamw", 0.1)).step(0.01)
    assert torch.equal(parameters[0], before)


def test_factors_of_a_parameter_change_its_rate_and_its_decay() -> None:
    slow, plain, kept, bias = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2, 2), (2, 2), (2, 2), (2,)))
    slow.rate_factor, kept.decay_factor, bias.decay_factor = 0.1, 0.0, 2.0  # type: ignore[attr-defined]
    for parameter in (slow, plain, kept, bias):
        parameter.grad = torch.zeros_like(parameter)
    Optimizer([slow, plain, kept, bias], choices_of("adamw", 0.5)).step(0.1)
    left = [parameter.detach().mean().item() for parameter in (slow, plain, kept, bias)]
    assert left == pytest.approx([1 - 0.01 * 0.5, 1 - 0.1 * 0.5, 1.0, 1 - 0.1 * 1.0])


def test_penalties_are_the_gradients_of_their_formulas() -> None:
    parameters = _parameters()
    (0.3 * parameters[0].abs().sum() + 0.7 * (parameters[0] ** 2).sum()).backward()
    wanted = parameters[0].grad.clone()
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    Optimizer(parameters, choices_of("sgd")).add_penalties(0.3, 0.7)
    torch.testing.assert_close(parameters[0].grad, wanted)
    assert not parameters[1].grad.any(), "a bias has no penalty"


def test_clipping_bounds_each_number_then_the_norm() -> None:
    parameters = _parameters()
    optimizer = Optimizer(parameters, choices_of("sgd"))
    for parameter in parameters:
        parameter.grad = 5.0 * torch.ones_like(parameter)
    optimizer.clip(None, 2.0)
    assert all((parameter.grad == 2.0).all() for parameter in parameters)
    optimizer.clip(1.0, None)
    norm = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm().item()
    assert norm == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("word", ["sgd", "adamw", "lion"])
def test_a_step_of_fp16_that_overflows_is_left_out_and_the_scale_halved(word: str) -> None:
    """The kernels are the same on the processor, so that the arithmetic is tested without a GPU."""
    parameters, scaler = _parameters(), Scaler("cpu")
    optimizer = Optimizer(parameters, choices_of(word, 0.1))
    before = [parameter.detach().clone() for parameter in parameters]
    scale = scaler.scale.item()
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, scale)
    parameters[1].grad[0] = torch.inf
    optimizer.step(0.1, 1.0, scaler.unscale(optimizer.gradients()))
    scaler.update()
    assert all(torch.equal(parameter, old) for parameter, old in zip(parameters, before, strict=True))
    assert scaler.scale.item() == scale / 2 and optimizer.count.item() == 0
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, scale / 2)
    found = scaler.unscale(optimizer.gradients())
    assert all((parameter.grad == 1.0).all() for parameter in parameters)
    optimizer.step(0.1, 1.0, found)
    assert not any(torch.equal(parameter, old) for parameter, old in zip(parameters, before, strict=True))
