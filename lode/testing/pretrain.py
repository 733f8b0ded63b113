"""What every way to pretrain must hold. A third party's tests call `check_pretrain` with its own word."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Shapes

_SPECS = {
    "numbers": TensorSpec("float32", (3,)),
    "code": TensorSpec("int32", (), cardinality=5),
    "text": TensorSpec("int32", (9,), ragged=(0,), cardinality=30),
    "picture": TensorSpec("uint8", (8, 8, 1)),
}


class _Network(nn.Module):
    """Everything laid flat, one layer."""

    def __init__(self, specs: dict[str, TensorSpec]) -> None:
        super().__init__()
        self.names = tuple(specs)
        self.layer = nn.Linear(sum(int(torch.Size(spec.shape).numel()) for spec in specs.values()), 16)

    def represent(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 (B, 16)."""
        made: torch.Tensor = self.layer(
            torch.cat(
                [
                    inputs[name].float().flatten(1) if inputs[name].ndim > 1 else inputs[name].float()[:, None]
                    for name in self.names
                ],
                dim=1,
            )
            / 10
        )
        return made


def check_pretrain(word: str) -> None:
    """Its loss is one finite number with gradients, depends on the generator alone, leaves the batch as it was, and can be lowered."""
    registry: Any = REGISTRIES["pretrain"]
    specs = {name: spec for name, spec in _SPECS.items() if registry.get(word).accepts(spec)}
    assert specs, f"{word}: accepts none of {list(_SPECS)}"
    torch.manual_seed(0)
    task = registry.create(Component(word), specs, 16, Shapes(specs, FlatSpec((), ())))
    network, batch = _Network(specs), {name: _rows(spec) for name, spec in specs.items()}
    before = {name: tensor.clone() for name, tensor in batch.items()}
    first, second, other = (task.change(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(batch[name], before[name]) for name in batch), f"{word}: changed the batch that it was given"
    assert all(torch.equal(first[name], second[name]) for name in first), f"{word}: chance that is not the generator's"
    assert any(not torch.equal(first[name], other[name]) for name in first), f"{word}: no chance at all"
    weights = [*network.parameters(), *task.parameters()]
    optimizer = torch.optim.Adam(weights, 0.01)
    losses = []
    for _ in range(60):
        loss = task(network, first)
        assert loss.shape == () and bool(torch.isfinite(loss)), f"{word}: loss {loss}"
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None for weight in network.parameters()), f"{word}: the network gets no gradient"
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0], f"{word}: the loss went from {losses[0]:.3f} to {losses[-1]:.3f} on one batch"
    assert task.epochs >= 1


def _rows(spec: TensorSpec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (32, *spec.shape)
    if spec.dtype == "float32":
        return torch.randn(shape, generator=generator)
    return torch.randint(1, spec.cardinality or 256, shape, generator=generator).to(getattr(torch, spec.dtype))
