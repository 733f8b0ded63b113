"""The parts of a decoder against their definitions: products, norms, rotations, experts, first weights, recomputation, bfloat16."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from lode.model.language import products
from lode.model.language.activations import gelu_tanh
from lode.model.language.attend import Causal, Documents
from lode.model.language.contracts import Look, Shape
from lode.model.language.decoder import Decoder
from lode.model.language.experts import Experts, balance_loss
from lode.model.language.rotary import Rotary
from lode.model.recompute import blocks_again
from lode.testing.architecture import small


def _shape(**options: Any) -> Shape:
    sizes = {"vocabulary": 40, "layers": 4, "width": 32, "heads": 4, "groups": 2, "head_width": 8, "hidden": 48, "context": 32}
    return Shape(**{**sizes, **options})


def _with_gradients(function: Any, *inputs: torch.Tensor) -> list[torch.Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    made = function(*leaves)
    (made * torch.linspace(-1, 1, made.numel()).view(made.shape)).sum().backward()
    return [made.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def _same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_fast_products_norms_and_rotations_equal_torchs_with_their_gradients() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(4, 64, 96), torch.randn(160, 96), torch.randn(160)
    assert products._goes_to_onednn(x, weight) == torch.backends.mkldnn.is_available()
    _same(_with_gradients(products.linear, x, weight, bias), _with_gradients(functional.linear, x, weight, bias))
    gain = torch.randn(96)
    mine = _with_gradients(lambda x, w: products.rms_norm(x, w, 1e-5), x, gain)
    _same(mine, _with_gradients(lambda x, w: functional.rms_norm(x, w.shape, w, 1e-5), x, gain))
    heads, angle = torch.randn(2, 7, 3, 8), torch.randn(7, 1, 4)

    def plain(x: torch.Tensor) -> torch.Tensor:
        turned = torch.view_as_complex(torch.stack(x.chunk(2, -1), -1)) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([turned.real, turned.imag], -1)

    _same(_with_gradients(lambda x: products.rotate(x, angle.cos(), angle.sin()), heads), _with_gradients(plain, heads))
    assert torch.allclose(products.product(x[0].t(), x[0]), x[0].t() @ x[0], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_of_many_numbers_equals_torchs_with_its_gradient(dtype: torch.dtype) -> None:
    x = torch.linspace(-30, 30, 150_001).to(dtype)  # more than a run, and a rest
    assert type(gelu_tanh(x.clone().requires_grad_()).grad_fn).__name__ == "_GeluTanhBackward"
    found, expected = (_with_gradients(each, x) for each in (gelu_tanh, lambda x: functional.gelu(x.double(), approximate="tanh")))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-5 if dtype == torch.float32 else 2**-6, atol=2e-6)


def test_norms_without_gradients_are_torchs_in_bfloat16() -> None:
    x, gain = torch.randn(5, 96).bfloat16(), torch.rand(96).bfloat16()
    with torch.inference_mode():
        assert torch.allclose(products.rms_norm(x, gain, 1e-5), functional.rms_norm(x, (96,), gain, 1e-5), rtol=2**-7)


def test_scores_of_rotated_heads_depend_on_the_distance_alone() -> None:
    rotary, q, k = Rotary(16, 100.0, {}, 32), torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(at: int, other: int) -> float:
        turned = [products.rotate(x, *rotary(torch.tensor([place]), torch.float32)) for x, place in ((q, at), (k, other))]
        return float((turned[0] * turned[1]).sum())

    assert score(3, 1) == pytest.approx(score(30, 28), abs=1e-4) and abs(score(3, 1) - score(3, 2)) > 1e-3


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_equals_the_plain_softmax(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 9, 4, 8), torch.randn(2, 9, 2, 8), torch.randn(2, 9, 2, 8)
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 7 + [-1] * 2])
    look = Look(0.3, window, softcap)
    for attend, same in ((Causal(), torch.ones(2, 9, 9)), (Documents(documents), documents[:, :, None] == documents[:, None])):
        behind = torch.arange(9)[:, None] - torch.arange(9)
        may = (behind >= 0) & (behind < (window or 99)) & same.bool()
        score = torch.einsum("bthk,bshk->bhts", q, k.repeat_interleave(2, 2)) * 0.3
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        share = score.masked_fill(~may[:, None], -math.inf).softmax(-1)
        expected = torch.einsum("bhts,bshk->bthk", share, v.repeat_interleave(2, 2))
        assert torch.allclose(attend(0, q, k, v, look), expected, atol=1e-5)


@pytest.mark.parametrize("hidden", [16, 12])
def test_experts_in_groups_and_each_over_all_tokens_are_the_same_mixture(hidden: int) -> None:
    torch.manual_seed(0)
    experts = Experts(16, hidden, 4, 2, functional.silu)
    for weight in experts.parameters():
        torch.nn.init.normal_(weight)
    assert experts._goes_in_groups(torch.float32, torch.device("cpu")) is (hidden == 16)
    x = torch.randn(3, 5, 16)

    def plain(x: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in x.view(-1, 16):
            share = (experts.router.weight @ row).softmax(0)
            best = share.topk(2)
            total = best.values.sum()
            for_row = torch.zeros(16)
            for weight, number in zip(best.values, best.indices, strict=True):
                h = functional.silu(experts.gate_EFD[number] @ row) * (experts.up_EFD[number] @ row)
                for_row = for_row + weight / total * (experts.down_EDF[number] @ h)
            rows.append(for_row)
        return torch.stack(rows).view(x.shape)

    _same(_with_gradients(experts, x), _with_gradients(plain, x))
    assert experts.balance is not None and experts.balance.requires_grad


def test_the_balance_loss_is_least_where_experts_are_used_alike() -> None:
    alike = balance_loss(torch.full((8, 4), 0.25), torch.arange(16).view(8, 2) % 4)
    uneven = balance_loss(torch.tensor([[0.7, 0.3, 0.0, 0.0]]).expand(8, 4), torch.tensor([[0, 1]]).expand(8, 2))
    assert alike.item() == pytest.approx(2.0) and uneven.item() == pytest.approx(4.0)
    _, decoder = small("mixtral", {"balance": 0.5})
    assert decoder.balance_loss() is None
    decoder.train()(torch.zeros(1, 4, dtype=torch.int64))
    found = decoder.balance_loss()
    assert found is not None and found.item() > 0.5


def test_first_weights_are_gpt2s_and_follow_the_seed() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(Decoder(_shape(width=128, head_width=32, hidden=512, bias_mlp=True)))
    first = {name: weight.detach() for name, weight in made[0].named_parameters()}
    assert all(torch.equal(weight, made[1].state_dict()[name]) for name, weight in first.items())
    assert float(first["layers.0.mlp.up.weight"].std()) == pytest.approx(0.02, rel=0.05)
    for name in ("attention.out", "mlp.down"):
        assert float(first[f"layers.0.{name}.weight"].std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.05)
    assert not first["layers.0.mlp.up.bias"].any() and bool((first["norm.weight"] == 1).all())


@pytest.mark.parametrize("options", [{}, {"experts": 4, "experts_used": 2}, {"dropout": 0.2}])
def test_recomputed_blocks_give_the_same_gradients(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    decoder = Decoder(_shape(**options))
    tokens = torch.randint(0, 40, (2, 16))
    found = []
    for again in (False, True):
        torch.manual_seed(1)
        decoder.zero_grad()
        if again:
            with blocks_again(decoder):
                decoder(tokens).square().mean().backward()
        else:
            decoder(tokens).square().mean().backward()
        found.append([weight.grad.clone() for weight in decoder.parameters() if weight.grad is not None])
    assert len(found[0]) == len(found[1]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("word", ["gpt2", "qwen3", "gemma2", "gemma3", "mixtral"])
def test_bfloat16_autocast_stays_near_float32_and_has_gradients(word: str) -> None:
    _, decoder = small(word)
    tokens = torch.randint(0, 50, (2, 16), generator=torch.Generator().manual_seed(0))
    documents = (torch.arange(16) // 6).expand(2, 16)
    with torch.no_grad():
        exact = decoder.logits(decoder(tokens, attend=Documents(documents)))
    decoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        found = decoder.logits(decoder(tokens, attend=Documents(documents)))
    found.float().logsumexp(-1).mean().backward()
    assert found.dtype == torch.bfloat16
    apart = (found.float() - exact).norm() / exact.norm()
    assert 0 < apart < 0.15, apart
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in decoder.parameters())


@pytest.mark.prove
def test_the_compiled_decoder_has_no_break_and_gives_the_same() -> None:
    for word in ("gpt2", "gemma3", "mixtral"):
        _, decoder = small(word)
        decoder.train()
        tokens = torch.randint(0, 50, (2, 16))
        documents = (torch.arange(16) // 6).expand(2, 16)

        def loss(tokens: torch.Tensor, documents: torch.Tensor, decoder: Decoder = decoder) -> torch.Tensor:
            return decoder.logits(decoder(tokens, attend=Documents(documents))).float().logsumexp(-1).mean()

        expected = loss(tokens, documents)
        found = torch.compile(loss, fullgraph=True)(tokens, documents)
        found.backward()
        assert found.item() == pytest.approx(expected.item(), abs=1e-4)
        assert all(weight.grad is not None for weight in decoder.parameters())
