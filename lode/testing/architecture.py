"""What every architecture must hold. A third party's tests call `check_architecture`, and `check_parity` beside transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language import weights
from lode.model.language.attend import Documents
from lode.model.language.contracts import Architecture, Shape
from lode.model.language.decoder import Decoder

SMALL: Mapping[str, Any] = {"layers": 3, "heads": 4, "width": 32, "hidden": 48, "context": 64}
VOCABULARY = 50


def small(word: str, options: Mapping[str, Any] | None = None) -> tuple[Architecture, Decoder]:
    """A tiny decoder with weights so large that no part of it can be left out unnoticed, norms and biases too."""
    architecture: Architecture = REGISTRIES["architecture"].create(Component(word, {**SMALL, **(options or {})}), VOCABULARY)
    decoder = Decoder(architecture.shape).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.ndim == 1) * 0.5)
    return architecture, decoder


def check_architecture(word: str, folder: Path, options: Mapping[str, Any] | None = None) -> None:
    """Options become a shape, weights go to a folder and come back bit for bit, nothing looks ahead or into another document."""
    architecture, decoder = small(word, options)
    weights.save(decoder, architecture, folder, shard_bytes=8192)
    back, loaded = weights.load(folder)
    assert back.shape == architecture.shape, f"{word}: config.json says another shape"
    ours, theirs = decoder.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours), f"{word}: weights changed"
    assert sum(weight.numel() for weight in decoder.parameters()) == num_parameters(architecture.shape), f"{word}: parameters"
    for name in ours:
        if ".attention." in name and name.endswith("weight"):
            assert architecture.naming.theirs(name.removesuffix(".weight")), f"{word}: no name for {name}, which adapters need"
    _check_what_is_seen(word, decoder)
    decoder.train()
    h_BTD = decoder(_tokens(2, 16))
    decoder.logits(h_BTD).logsumexp(-1).mean().backward()
    idle = [name for name, weight in decoder.named_parameters() if weight.grad is None or not bool(weight.grad.isfinite().all())]
    assert not idle, f"{word}: no gradient in {idle}"


def _check_what_is_seen(word: str, decoder: Decoder) -> None:
    tokens_BT = _tokens(2, 24)
    with torch.no_grad():
        whole = decoder(tokens_BT)
        assert torch.allclose(decoder(tokens_BT[:, :9]), whole[:, :9], atol=1e-4), f"{word}: a position sees what comes after it"
        documents_BT = torch.zeros(2, 24, dtype=torch.int32)
        documents_BT[:, 10:], documents_BT[:, 20:] = 1, -1
        positions_BT = torch.cat([torch.arange(10), torch.arange(10), torch.arange(4)]).expand(2, 24)
        packed = decoder(tokens_BT, positions_BT, Documents(documents_BT))
        assert torch.allclose(packed[:, :10], whole[:, :10], atol=1e-4), f"{word}: the first document changed beside others"
        alone = decoder(tokens_BT[:, 10:20])
        assert torch.allclose(packed[:, 10:20], alone, atol=1e-4), f"{word}: a document sees another"
        assert bool(packed.isfinite().all()), f"{word}: padding is not finite"


def check_parity(word: str, folder: Path, reference: Callable[[Path], Any], options: Mapping[str, Any] | None = None) -> None:
    """Logits equal those of transformers within 1e-4 in float32: of what we wrote and it reads, and of what it wrote and we read.

    reference: loads a folder (`AutoModelForCausalLM.from_pretrained`) and gives a model with `save_pretrained`.
    """
    architecture, decoder = small(word, options)
    weights.save(decoder, architecture, folder / "ours")
    model = reference(folder / "ours").eval()
    tokens_BT = _tokens(2, 40)
    model.save_pretrained(folder / "theirs")
    back, loaded = weights.load(folder / "theirs")
    assert back.shape == architecture.shape, f"{word}: transformers' config.json is read as another shape"
    padded = torch.ones_like(tokens_BT)
    padded[1, 25:] = 0
    with torch.no_grad():
        expected, expected_padded = model(tokens_BT).logits, model(tokens_BT, attention_mask=padded).logits
        found, found_back = decoder.logits(decoder(tokens_BT)), loaded.logits(loaded(tokens_BT))
    _close(word, found, expected)
    _close(word, found_back, expected)
    # Causal: padding on the right changes nothing before it, so it needs no mask of its own
    _close(word, found[1, :25], expected_padded[1, :25])
    with torch.no_grad():
        shaken = next(weight for name, weight in decoder.named_parameters() if name.endswith("attention.k.weight"))
        shaken.add_(0.3 * torch.randn(shaken.shape, generator=torch.Generator().manual_seed(2)))
        assert (decoder.logits(decoder(tokens_BT)) - expected).abs().max() > 1e-3, f"{word}: the comparison sees no change"


def num_parameters(shape: Shape) -> int:
    """Parameters in closed form (norms included)."""
    norm = shape.width * (2 if shape.norm == "layer" and shape.bias_norm else 1)
    wide, narrow = shape.heads * shape.head_width, shape.groups * shape.head_width
    attention = shape.width * (2 * wide + 2 * narrow) + shape.bias_qkv * (wide + 2 * narrow) + shape.bias_out * shape.width
    attention += 2 * shape.head_width * shape.qk_norm
    mlp = (2 + shape.gated) * shape.width * shape.hidden
    mlp += shape.bias_mlp * ((1 + shape.gated) * shape.hidden + shape.width)
    if shape.experts:
        mlp = shape.experts * (3 * shape.width * shape.hidden + shape.width)
    embeddings = shape.vocabulary * shape.width * (1 if shape.tied else 2)
    if shape.positions == "learned":
        embeddings += shape.context * shape.width
    return embeddings + norm + shape.layers * (attention + mlp + norm * (4 if shape.post_norms else 2))


def _tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(3))


def _close(word: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    apart = float((found - expected).abs().max())
    assert apart <= 1e-4, f"{word}: logits differ from transformers' by {apart:.1e} (up to {float(expected.abs().max()):.1f})"
