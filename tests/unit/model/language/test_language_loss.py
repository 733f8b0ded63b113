"""The loss of a vocabulary in runs of positions is torch's own, and so are its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lode.model.language import loss as losses
from lode.model.language import scores
from lode.model.language.contracts import Look


def _case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    h = torch.randn(3, 50, 24, dtype=dtype, requires_grad=True)
    head = torch.randn(301, 24, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 301, (3, 50))
    targets[0, :20], targets[2] = losses.IGNORED, losses.IGNORED
    return h, head, targets


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_runs_give_the_loss_and_the_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch, softcap: float | None) -> None:
    found = []
    for whole in (1 << 40, 0):
        monkeypatch.setattr(losses, "_WHOLE_BYTES", whole)
        monkeypatch.setattr(losses, "_RUN_BYTES", 0)
        monkeypatch.setattr(losses, "_LEAST_ROWS", 37)
        h, head, targets = _case(torch.float64)
        value = losses.mean_loss(h, head, targets, softcap)
        (3.0 * value).backward()
        assert h.grad is not None and head.grad is not None
        found.append((value.detach().double(), h.grad, head.grad))
    for whole_one, in_runs in zip(*found, strict=True):
        torch.testing.assert_close(in_runs, whole_one, rtol=1e-5, atol=1e-6)


def test_it_is_the_mean_over_learned_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_WHOLE_BYTES", 0)
    h, head, targets = _case()
    wanted = functional.cross_entropy((h @ head.T).flatten(0, 1), targets.flatten(), ignore_index=losses.IGNORED)
    torch.testing.assert_close(losses.mean_loss(h, head, targets), wanted, rtol=1e-6, atol=1e-6)
    each = losses.token_losses(h, head, targets)
    torch.testing.assert_close(each.sum() / (targets >= 0).sum(), wanted, rtol=1e-6, atol=1e-6)


def test_nothing_to_learn_is_no_loss_and_no_gradient() -> None:
    h, head, targets = _case()
    value = losses.mean_loss(h, head, torch.full_like(targets, losses.IGNORED))
    value.backward()
    assert value == 0 and h.grad is not None and not h.grad.any()


def test_large_logits_cost_the_loss_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_WHOLE_BYTES", 0)
    head = torch.full((301, 1), -1e5)
    head[0], head[1] = 1e5, 1e5 - 0.5
    value = losses.mean_loss(torch.ones(300, 1), head, torch.zeros(300, dtype=torch.int64))
    torch.testing.assert_close(value, torch.tensor(0.5).neg().exp().log1p(), rtol=1e-6, atol=0)


def test_half_precision_products_keep_float32_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(losses, "_RUN_BYTES", 0)
    monkeypatch.setattr(losses, "_LEAST_ROWS", 40)
    h, head, targets = _case()
    exact = losses.mean_loss(h, head, targets)
    with torch.autocast("cpu", torch.bfloat16):
        value = losses.mean_loss(h, head, targets)
    value.backward()
    assert value.dtype == torch.float32 and head.grad is not None and head.grad.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("by_rows", [False, True])
def test_whole_scores_are_softmax_attention(groups: int, by_rows: bool) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, 9, 4, 8, requires_grad=True)
    k, v = (torch.randn(2, 9, groups, 8, requires_grad=True) for _ in range(2))
    mask = torch.full((9, 9), float("-inf")).triu(1)
    mask = mask.expand(2, 1, 9, 9) if by_rows else mask
    given = torch.randn(2, 9, 4, 8)
    found = []
    for ours in (True, False):
        if ours:
            made = scores.attention(q, k, v, mask, 0.3)
        else:
            wide = (x.transpose(1, 2) for x in (q, k, v))
            made = functional.scaled_dot_product_attention(*wide, mask, scale=0.3, enable_gqa=True).transpose(1, 2)
        found.append((made.detach(), *torch.autograd.grad(made, (q, k, v), given)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_whole_scores_are_for_bfloat16_and_short_rows_only() -> None:
    look = Look(0.3)
    q = torch.zeros(1, 8, 2, 4, dtype=torch.bfloat16)
    assert scores.suits(q, q, look) and not scores.suits(q.float(), q.float(), look)
    long = torch.zeros(1, scores.MOST_POSITIONS + 1, 2, 4, dtype=torch.bfloat16)
    assert not scores.suits(long, long, look) and not scores.suits(q, q, Look(0.3, dropout=0.1))
    with torch.no_grad():
        assert not scores.suits(q, q, look)
