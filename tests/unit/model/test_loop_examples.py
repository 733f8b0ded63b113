"""Corners of the loop's parts by formula: rates of the first and last steps, decay that fades, weights that start and that are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from scipy import stats
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from lode.model.average import Average
from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context
from lode.model.initial import initialise
from lode.model.optim import Optimizer, inner_weights
from lode.model.schedules import learning_rate
from lode.model.training import Training


def choices_of(**options: object) -> Choices:
    return decide(Training(**options), Context(), Workload(64, 10))


def rates_of(steps: int, **options: object) -> list[float]:
    choices = choices_of(learning_rate=2.0, **options)
    return [learning_rate(step, steps, 4, choices) for step in range(steps)]


def test_a_warm_up_of_a_part_of_a_step_takes_that_step_too() -> None:
    """15 % of ten steps are two: half the rate, then all of it."""
    assert rates_of(10, schedule="constant", warmup=0.15) == pytest.approx([1.0, *[2.0] * 9])


def test_one_cycle_without_a_rise_is_half_a_cosine_from_the_top() -> None:
    """From 2 to 2 / 250,000 in five steps."""
    low = 1 / 25e4
    wanted = [2 * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * step / 4))) for step in range(5)]
    assert rates_of(5, schedule="one_cycle", warmup=0.0) == pytest.approx(wanted, rel=1e-12)


def test_without_a_cooldown_the_rate_stays() -> None:
    assert rates_of(4, schedule="wsd", warmup=0.0, cooldown=0.0) == [2.0] * 4


def test_what_is_left_of_the_decay_multiplies_it() -> None:
    """Decoupled decay without a gradient: 1 - rate x decay x share (Loshchilov 2019, algorithm 2)."""
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    Optimizer([weight], choices_of(optimizer="adamw", weight_decay=0.5)).step(0.1, 0.25)
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 1 - 0.1 * 0.5 * 0.25))


def test_a_parameter_keeps_its_own_memory_while_another_has_no_gradient() -> None:
    """Two of one shape, with gradients of 1 in the first and fourth step, of 2 in the second and third. Nesterov's steps at rate 0.01:
    1 + 0.9 x 1 and 1 + 0.9 x 1.9; 2 + 0.9 x 2 and 2 + 0.9 x 3.8 (Sutskever 2013).
    """
    pair = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))]
    own = Optimizer(pair, choices_of(optimizer="sgd", weight_decay=0.0))
    for number in (0, 1, 1, 0):
        pair[number].grad, pair[1 - number].grad = torch.full((3, 2), 1.0 + number), None
        own.step(0.01)
    assert [weight.mean().item() for weight in pair] == pytest.approx([1 - 0.01 * (1.9 + 2.71), 1 - 0.01 * (3.8 + 5.42)])


def test_a_step_that_overflows_moves_nothing_where_only_some_rules_skip_it_themselves() -> None:
    """Muon's kernel cannot leave a step out, that of AdamW beside it can."""
    inner, head = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))
    optimizer = Optimizer([inner, head], choices_of(optimizer="muon"), {id(inner)})
    for found_inf, moved in ((1.0, False), (0.0, True)):
        inner.grad, head.grad = torch.ones(3, 2), torch.ones(2)
        optimizer.step(0.1, 1.0, torch.tensor([found_inf]))
        assert [bool((weight != 1).any()) for weight in (inner, head)] == [moved, moved]
    assert optimizer.count.item() == 1


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A team of this process alone: weights that are divided among one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("norm", "value", "left"), [(5.0, None, (-1.5, 2.0)), (100.0, None, (-3.0, 4.0)), (None, 2.0, (-2.0, 2.0))]
)
def test_divided_and_whole_gradients_are_clipped_by_their_common_norm(
    mesh: DeviceMesh, norm: float | None, value: float | None, left: tuple[float, float]
) -> None:
    """Four numbers of -3 in a divided weight and four of 4 in a whole one: norms of 6 and 8, 10 together."""
    divided, whole = nn.Parameter(distribute_tensor(torch.ones(2, 2), mesh, [Shard(0)])), nn.Parameter(torch.ones(2, 2))
    divided.grad, whole.grad = distribute_tensor(torch.full((2, 2), -3.0), mesh, [Shard(0)]), torch.full((2, 2), 4.0)
    Optimizer([divided, whole], choices_of(optimizer="sgd")).clip(norm, value)
    assert divided.grad.full_tensor().flatten().tolist() == pytest.approx([left[0]] * 4, rel=1e-5)
    assert whole.grad.flatten().tolist() == pytest.approx([left[1]] * 4, rel=1e-5)


def test_muon_moves_products_and_convolutions_but_what_gives_the_answer() -> None:
    layers = {"conv": nn.Conv2d(1, 2, 3), "line": nn.Conv1d(1, 2, 3), "norm": nn.LayerNorm(2), "table": nn.Embedding(3, 2)}
    heads = {"head": nn.Linear(2, 2), "unembed": nn.Linear(2, 3), "heads": nn.ModuleList([nn.Linear(2, 2)])}
    module = nn.ModuleDict({**layers, **heads, "forehead": nn.Linear(2, 2)})
    assert inner_weights(module) == {id(module[name].weight) for name in ("conv", "line", "forehead")}


@pytest.mark.parametrize(
    ("word", "law"),
    [
        ("normal", stats.norm(0, 0.05)),
        ("uniform", stats.uniform(-0.05, 0.1)),
        ("xavier", stats.uniform(-math.sqrt(6 / 300), 2 * math.sqrt(6 / 300))),
        ("he", stats.norm(0, math.sqrt(2 / 200))),
    ],
)
def test_first_weights_are_drawn_from_the_law_of_their_paper(word: str, law: stats.rv_continuous) -> None:
    """Glorot 2010, equation 16; He 2015, equation 10. 20,000 numbers tell a normal law from a uniform one of the same spread."""
    torch.manual_seed(0)
    layer = nn.Linear(200, 100)
    initialise(layer, word)
    assert stats.kstest(layer.weight.detach().flatten().numpy(), law.cdf).pvalue > 0.001


def test_convolutions_start_by_the_rule_too() -> None:
    """He of 3 channels and 9 places each: a spread of the root of 2 / 27. Orthogonal: filters of one length at right angles."""
    torch.manual_seed(0)
    wide = nn.Conv2d(3, 2000, 3)
    initialise(wide, "he")
    assert wide.weight.std().item() == pytest.approx(math.sqrt(2 / 27), rel=0.02) and not wide.bias.any()
    line = nn.Conv1d(4, 6, 3)
    initialise(line, "orthogonal")
    flat = line.weight.detach().flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(6), atol=1e-5, rtol=0)


def _averaged() -> tuple[nn.Module, Average]:
    """A layer and batch norm of ones, of which the layer's bias never changes; then everything becomes 3."""
    module = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(1)
    average = Average(module, 0.5, fixed=("0.bias",))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(3)
    return module, average


def test_means_of_weights_and_of_running_statistics_by_hand() -> None:
    """Shares of the new one: 0.9 at first, (1 + 0) / (10 + 0) being less than the decay of 0.5; 9 / 11 then; 0.5 at last."""
    _, average = _averaged()
    assert set(average.means) == {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    for step, wanted in ((0, 1 + 0.9 * 2), (1, 2.8 + 9 / 11 * 0.2)):
        average.update(step)
        assert [tensor.mean().item() for tensor in average.means.values()] == pytest.approx([wanted] * 5)
    before = 3 - (2.8 + 9 / 11 * 0.2)
    average.update(1000)
    assert average.means["0.weight"].item() == pytest.approx(3 - before / 2)


def test_a_module_holds_the_means_for_as_long_as_it_is_judged() -> None:
    module, average = _averaged()
    average.update(0)
    with pytest.raises(KeyError), average.in_place():
        assert module[0].weight.item() == module[1].running_var.item() == pytest.approx(2.8)
        assert module[0].bias.item() == 3
        raise KeyError
    assert all((tensor == 3).all() for tensor in module.state_dict().values()), "its own again, also after an error"
