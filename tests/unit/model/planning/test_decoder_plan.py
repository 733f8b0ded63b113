"""The formulas of decoders against decoders: parameters, operations and what autograd keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language.attend import Documents
from lode.model.language.decoder import Decoder
from lode.model.language.loss import mean_loss
from lode.model.planning import activations, decoder, memory
from lode.model.planning.activations import Step
from lode.model.planning.live import LiveBytes
from lode.model.planning.memory import Keeping
from lode.model.shape import Shape

ROWS, LENGTH = 4, 48
LLAMA: dict[str, Any] = {
    "vocabulary": 97, "layers": 2, "width": 48, "heads": 4, "groups": 2, "head_width": 12, "hidden": 120, "context": 64,
}  # fmt: skip
GPT2 = {
    **LLAMA, "groups": 4, "norm": "layer", "positions": "learned", "activation": "gelu_tanh", "gated": False, "bias_qkv": True,
    "bias_out": True, "bias_mlp": True,
}  # fmt: skip
SHAPES = {
    "llama": LLAMA, "gpt2": GPT2, "untied": {**LLAMA, "tied": False}, "qk_norm": {**LLAMA, "qk_norm": True},
    "post norms": {**LLAMA, "post_norms": True, "norm_shift": 1.0}, "softcap": {**LLAMA, "softcap_scores": 50.0},
    "dropout": {**GPT2, "dropout": 0.1}, "experts": {**LLAMA, "experts": 4, "experts_used": 2, "balance": 0.01},
    "windows": {**LLAMA, "window": 16, "local": (True, False)}, "ungated": {**LLAMA, "gated": False, "activation": "relu_squared"},
}  # fmt: skip


def kept(shape: Shape, half: bool, masked: bool) -> int:
    """Bytes of the storages that autograd keeps for the way back, weights left out."""
    torch.manual_seed(0)
    made = Decoder(shape).train()
    weights = {weight.untyped_storage().data_ptr() for weight in made.parameters()}
    held: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    tokens = torch.randint(0, shape.vocabulary, (ROWS, LENGTH))
    attend = Documents(torch.zeros(ROWS, LENGTH, dtype=torch.int32)) if masked else None
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = mean_loss(made(tokens, attend=attend), made.head, tokens)
    assert loss.isfinite()
    return sum(tensor.untyped_storage().nbytes() for place, tensor in held.items() if place not in weights)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SHAPES)
def test_what_autograd_keeps_is_what_the_formula_says(name: str, half: bool) -> None:
    shape = Shape(**SHAPES[name])
    for masked in (False, True):
        step = Step(ROWS, LENGTH, half=half, masked=masked)
        said = activations.kept_bytes(shape, step) + activations.cast_bytes(shape, step) + activations.head_bytes(shape, step)[0]
        assert said == pytest.approx(kept(shape, half, masked), rel=0.02), f"{name}, masked {masked}"


@pytest.mark.parametrize("word", REGISTRIES["architecture"].names())
def test_parameters_are_exact_for_every_architecture(word: str) -> None:
    sizes = {"layers": 3, "heads": 4, "width": 64, "context": 32}
    shape = REGISTRIES["architecture"].create(Component(word, sizes), 101).shape
    with torch.device("meta"):
        count = sum(weight.numel() for weight in Decoder(shape).parameters())
    assert sum(decoder.parameters(shape).values()) == count


@pytest.mark.parametrize("name", ["llama", "gpt2", "windows", "qk_norm", "untied"])
def test_operations_are_those_that_torch_counts(name: str) -> None:
    shape = Shape(**SHAPES[name])
    tokens = torch.randint(
        0, shape.vocabulary, (2, 32)
    )  # so small that no product goes to oneDNN, whose operation torch does not count
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        made = Decoder(shape)
        made.logits(made(tokens)).sum().backward()
    said = decoder.training_flops(shape, 32) * tokens.numel()
    assert said == pytest.approx(counter.get_total_flops(), rel=0.005)


def test_frozen_weights_save_their_own_gradient_and_recompute_costs_a_forward_pass() -> None:
    shape = Shape(**{**LLAMA, "layers": 12})
    whole = decoder.training_flops(shape, 32)
    assert decoder.training_flops(shape, 32, trained=0.0) < 0.75 * whole
    assert whole < decoder.training_flops(shape, 32, recompute=True) < 1.34 * whole


def test_adapters_are_counted_by_rank() -> None:
    shape = Shape(**LLAMA)
    assert decoder.adapter_parameters(shape, 4, ("q",)) == 2 * 4 * (48 + 48)
    assert decoder.adapter_parameters(shape, 4, ("q",), dora=True) == 2 * (4 * 96 + 48)


def test_cache_bytes_are_keys_and_values_of_every_layer() -> None:
    assert decoder.cache_bytes(Shape(**LLAMA), 2) == 2 * 2 * 2 * 12 * 2


@pytest.mark.parametrize("optimizer", memory.SLOTS)
@pytest.mark.parametrize("half", [False, True])
def test_memory_grows_with_the_batch_and_shrinks_with_the_devices(optimizer: str, half: bool) -> None:
    shape = Shape(
        **{**LLAMA, "width": 256, "heads": 8, "groups": 8, "head_width": 32, "hidden": 512, "layers": 8, "vocabulary": 8192}
    )
    step = Step(8, 64, half=half, gpu=True)
    alone = memory.training(shape, step, Keeping(optimizer=optimizer))
    more = memory.training(shape, replace(step, rows=16), Keeping(optimizer=optimizer))
    assert alone.peak_bytes < more.peak_bytes
    assert memory.training(shape, replace(step, recompute=True), Keeping(optimizer=optimizer)).peak_bytes < alone.peak_bytes
    for sharding in ("fsdp", "tensor"):
        shared = memory.training(shape, step, Keeping(optimizer=optimizer, sharding=sharding, devices=4))
        assert shared.parts["optimiser state"] == pytest.approx(alone.parts["optimiser state"] / 4)
        assert shared.peak_bytes < alone.peak_bytes
    assert alone.peak_bytes <= sum(alone.parts.values()) * 1.2


def test_a_look_at_many_validation_tokens_may_take_the_most() -> None:
    shape = Shape(**LLAMA)
    small, large = Step(1, 64), Step(256, 64)
    for step, takes_more in ((small, True), (large, False)):
        alone, looked = (memory.training(shape, step, Keeping(judged_tokens=count)).peak_bytes for count in (0, 1 << 14))
        assert (looked > 1.5 * alone) if takes_more else (looked == alone)


def test_what_a_look_at_validation_text_holds_is_what_the_formula_says() -> None:
    """No gradient, no cache: what lives at once, counted by the storages; the formula may be a quarter off."""
    shape, tokens = Shape(**{**GPT2, "vocabulary": 97, "width": 64, "heads": 4, "hidden": 256, "head_width": 16}), 16 * 64
    made = Decoder(shape).eval()
    tokens_BT = torch.randint(0, 97, (16, 64))
    with torch.no_grad(), LiveBytes(made.parameters()) as live:
        mean_loss(made(tokens_BT), made.head, tokens_BT)
    said = activations.judged_bytes(shape, Step(1, 64), tokens)
    assert said == pytest.approx(live.peak, rel=0.25)


def test_gradients_of_earlier_pieces_are_there_on_the_way_forward() -> None:
    shape, step = Shape(**LLAMA), Step(64, 64)
    once, again = (memory.training(shape, step, Keeping(adds_up=adds_up)) for adds_up in (False, True))
    gradients = once.parts["gradients"]
    assert again.peak_bytes - once.peak_bytes == pytest.approx(gradients)


def test_a_processors_heap_has_holes_of_what_is_largest_and_a_gpu_none(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, step = Shape(**LLAMA), Step(64, 64)
    cases = (step, replace(step, recompute=True), replace(step, gpu=True))
    before = [memory.training(shape, case, Keeping()).peak_bytes for case in cases]
    for name in ("HOLES_WIDEST", "HOLES_VOCABULARY", "HOLES_GRADIENTS"):
        monkeypatch.setattr(memory, name, 0.0)
    holes = [peak - memory.training(shape, case, Keeping()).peak_bytes for peak, case in zip(before, cases, strict=True)]
    gradients = memory.training(shape, step, Keeping()).parts["gradients"]
    plain = 7.0 * 64 * 64 * 4.0 * shape.hidden + 3.5 * 4.0 * shape.vocabulary * shape.width
    assert holes == pytest.approx([plain, plain + 3.0 * gradients, 0.0])


def test_the_largest_batch_is_the_last_that_is_admitted() -> None:
    shape, step, keeping = Shape(**LLAMA), Step(1, 64, gpu=True), Keeping()
    room = 1.5e9
    rows = memory.largest_rows(shape, step, keeping, room)
    assert rows > 1
    assert memory.fits(memory.training(shape, replace(step, rows=rows), keeping), room)
    assert not memory.fits(memory.training(shape, replace(step, rows=rows + 1), keeping), room)
    assert memory.largest_rows(shape, step, keeping, 1e6) == 0
