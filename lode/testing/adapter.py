"""What every adapter must keep. `check_adapter("lora")`; third parties run it on their own words.

Read `lode.model.language.contracts.Adapter` first; a tiny decoder of a known architecture is what they are put beside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language import adapter_files, adapters
from lode.model.language.contracts import Adapter, Architecture
from lode.model.language.decoder import Decoder

Word = str | Component


def check_adapter(word: Word, folder: Path, architecture: str = "llama") -> None:
    """Everything below. folder: an empty place for files; architecture: of the decoder that it is put beside."""
    component = word if isinstance(word, Component) else Component(word)
    adapter: Adapter = REGISTRIES["adapter"].create(component)
    assert isinstance(adapter, Adapter), f"{word}: an adapter inherits from lode.model.language.contracts.Adapter"
    check_it_starts_at_the_base(adapter, architecture)
    check_only_the_adapter_learns(adapter, architecture)
    check_merge_and_back(adapter, architecture)
    check_round_trip(adapter, architecture, folder)
    check_16_bits(adapter, architecture)


def base(architecture: str, seed: int = 0) -> tuple[Architecture, Decoder]:
    """A tiny decoder with weights that matter."""
    options = {"layers": 2, "heads": 2, "width": 16, "context": 16}
    made: Architecture = REGISTRIES["architecture"].create(Component(architecture, options), 24)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        decoder = Decoder(made.shape).eval()
        for weight in decoder.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    return made, decoder


def tokens(rows: int = 4) -> torch.Tensor:
    """int64 (rows, 12)."""
    return torch.randint(0, 24, (rows, 12), generator=torch.Generator().manual_seed(1))


def train(decoder: Decoder, steps: int = 5, autocast: bool = False) -> list[float]:
    """A few steps on random tokens; the losses. autocast: whether products are made in bfloat16."""
    weights = adapters.trained(decoder)
    optimizer = torch.optim.Adam(weights, 0.02)
    losses = []
    decoder.train()
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits_BTV = decoder.logits(decoder(tokens()[:, :-1])).float()
            loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens()[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    decoder.eval()
    return losses


@torch.no_grad()
def _logits(decoder: Decoder) -> torch.Tensor:
    found: torch.Tensor = decoder.logits(decoder(tokens())).float()
    return found


def _attached(adapter: Adapter, architecture: str, steps: int) -> tuple[Architecture, Decoder]:
    made, decoder = base(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        adapter.attach(decoder)
    train(decoder, steps)
    return made, decoder


def check_it_starts_at_the_base(adapter: Adapter, architecture: str) -> None:
    """Before the first step the decoder says what the base says; inside `bare` it does so for ever, with the base's own state."""
    before = base(architecture)[1]
    _, decoder = _attached(adapter, architecture, 0)
    _near(_logits(decoder), _logits(before), 1e-5, "an adapter that has learned nothing changes what the base says")
    train(decoder)
    assert not torch.allclose(_logits(decoder), _logits(before), atol=1e-4), "training changes nothing"
    with adapters.bare(decoder):
        assert torch.equal(_logits(decoder), _logits(before)), "without its adapter the decoder is not the base"
        assert list(decoder.state_dict()) == list(before.state_dict())


def check_only_the_adapter_learns(adapter: Adapter, architecture: str) -> None:
    """The base stays bit for bit; every weight of the adapter gets a gradient, and the loss falls."""
    before = base(architecture)[1].state_dict()
    _, decoder = _attached(adapter, architecture, 0)
    learned = adapters.trained(decoder)
    assert learned and sum(weight.numel() for weight in learned) < sum(tensor.numel() for tensor in before.values())
    losses = train(decoder, 20)
    assert losses[-1] < losses[0], f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
    assert all(weight.grad is not None for weight in learned), "some weight of the adapter gets no gradient"
    with adapters.bare(decoder):
        assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items()), "the base changed"


def check_merge_and_back(adapter: Adapter, architecture: str) -> None:
    """Merged it says the same to 1e-5; unmerged it is the same bit for bit; folded it is a plain decoder."""
    _, decoder = _attached(adapter, architecture, 5)
    apart, state = _logits(decoder), {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    adapters.merge(decoder)
    adapters.merge(decoder)
    merged = _logits(decoder)
    _near(merged, apart, 1e-5, "merged weights say something else")
    adapters.unmerge(decoder)
    assert torch.equal(_logits(decoder), apart), "unmerging does not restore what was there"
    assert all(torch.equal(tensor, state[name]) for name, tensor in decoder.state_dict().items())
    adapters.fold(decoder)
    assert torch.equal(_logits(decoder), merged) and not adapters.adapted(decoder)
    assert all(weight.requires_grad for weight in decoder.parameters())


def check_round_trip(adapter: Adapter, architecture: str, folder: Path) -> None:
    """Written and read beside the same base it says the same; the same state gives the same bytes."""
    made, decoder = _attached(adapter, architecture, 5)
    for name in ("one", "two"):
        adapter_files.save(decoder, adapter, made, folder / name)
    read = {name: {path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("one", "two")}
    assert read["one"] == read["two"] and set(read["one"]) == {adapter_files.CONFIG, adapter_files.WEIGHTS}
    other = base(architecture)[1]
    adapter_files.load(other, made, folder / "one")
    _near(_logits(other), _logits(decoder), 1e-5, "an adapter that was written and read says something else")
    assert len(adapters.trained(other)) >= len(adapters.trained(decoder)), "what was read cannot be trained on"


def check_16_bits(adapter: Adapter, architecture: str) -> None:
    """It learns beside a base in bfloat16, and under autocast."""
    runs: list[Callable[[Any], Any]] = [lambda decoder: decoder.to(torch.bfloat16), lambda decoder: decoder]
    for number, prepared in enumerate(runs):
        decoder = prepared(base(architecture)[1])
        adapter.attach(decoder)
        losses = train(decoder, 20, autocast=number == 1)
        assert losses[-1] < losses[0], f"in 16 bits the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"


def _near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, text: str) -> None:
    difference = float((found - wanted).abs().max())
    assert difference <= tolerance * max(1.0, float(wanted.abs().max())), f"{text}: by up to {difference:.3g}"
