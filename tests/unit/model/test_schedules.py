"""The learning rate of each step is the one that the docs name."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context
from lode.model.schedules import decay_share, learning_rate
from lode.model.training import Training


def choices_of(schedule: str, **options: object) -> Choices:
    return decide(Training(schedule=schedule, learning_rate=2.0, **options), Context(), Workload(64, 10))


def rates_of(schedule: str, steps: int = 100, per_epoch: int = 10, **options: object) -> list[float]:
    choices = choices_of(schedule, **options)
    return [learning_rate(step, steps, per_epoch, choices) for step in range(steps)]


def test_cosine_rises_then_falls_to_zero() -> None:
    rates = rates_of("cosine", warmup=0.1)
    assert rates[0] == pytest.approx(0.2) and rates[9] == 2.0 and max(rates) == 2.0
    assert rates[55] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(low < high for high, low in itertools.pairwise(rates[10:])) and rates[-1] < 0.01


@pytest.mark.parametrize("word", ["constant", "plateau"])
def test_a_constant_rate_is_constant_after_the_warm_up(word: str) -> None:
    assert rates_of(word, 10, warmup=0.0) == [2.0] * 10


def test_linear_falls_evenly() -> None:
    rates = rates_of("linear", warmup=0.0)
    assert rates[0] == 2.0 and rates[50] == pytest.approx(1.0) and rates[99] == pytest.approx(0.02)


def test_step_drops_after_so_many_epochs() -> None:
    rates = rates_of("step", warmup=0.0, decay=0.5, decay_epochs=3)
    assert rates[0] == rates[29] == 2.0 and rates[30] == rates[59] == 1.0 and rates[60] == 0.5


def test_exponential_passes_through_the_same_rates_smoothly() -> None:
    rates = rates_of("exponential", warmup=0.0, decay=0.5, decay_epochs=3)
    assert rates[0] == 2.0 and rates[30] == pytest.approx(1.0) and rates[60] == pytest.approx(0.5)
    assert rates[15] == pytest.approx(2.0 * 0.5**0.5)


def test_one_cycle_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2.0, total_steps=100, pct_start=0.3, cycle_momentum=False)
    wanted = []
    for _ in range(100):
        wanted.append(peer.get_last_lr()[0])
        optimizer.step()
        peer.step() if len(wanted) < 100 else None
    assert rates_of("one_cycle") == pytest.approx(wanted, rel=1e-9)


def test_warm_up_stable_decay_has_three_parts() -> None:
    rates = rates_of("wsd", warmup=0.1, cooldown=0.2)
    assert rates[4] == pytest.approx(1.0) and set(rates[9:81]) == {2.0}
    assert rates[90] == pytest.approx(1.0) and rates[99] == pytest.approx(0.1)


def test_coslog4_has_four_cycles_that_grow_longer() -> None:
    """RealMLP (arXiv 2407.04491): zeros where log2(1 + 15 t) is whole, at t = 0, 1/15, 3/15, 7/15."""
    rates = rates_of("coslog4", 1500)
    assert [rates[step] for step in (0, 100, 300, 700)] == pytest.approx([0.0] * 4, abs=1e-9)
    assert max(rates) == pytest.approx(2.0, rel=1e-4)
    tops = [t for t in range(1, 1499) if rates[t - 1] < rates[t] > rates[t + 1]]
    assert len(tops) == 4


def test_flat_cos_keeps_half_of_the_steps() -> None:
    assert [decay_share(step, 100, "flat_cos") for step in (0, 49, 50)] == [1.0] * 3
    assert decay_share(75, 100, "flat_cos") == pytest.approx(0.5)
    assert decay_share(99, 100, "constant") == 1.0


@pytest.mark.parametrize("word", ["cosine", "linear", "wsd"])
def test_a_rate_ends_where_final_rate_says(word: str) -> None:
    rates, plain = rates_of(word, warmup=0.1, final_rate=0.1), rates_of(word, warmup=0.1)
    assert max(rates) == 2.0
    assert rates[10:] == pytest.approx([0.2 + 0.9 * rate for rate in plain[10:]])
