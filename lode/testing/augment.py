"""What every augmentation must keep. `check_augment("flip")`; third parties run it on their own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.blocks import is_image
from lode.model.modules import Augment
from lode.testing.encoder import SPECS, rows

_ROWS = 16


def check_augment(word: str, options: Mapping[str, Any] | None = None) -> None:
    """Everything below, for one word of the registry, on every array that it accepts; its codes are the words w0, w1, w2, ..."""
    cls: Any = REGISTRIES["augment"].get(word)
    assert issubclass(cls, Augment), f"{word}: an augmentation inherits from lode.model.modules.Augment"
    accepted = {name: spec for name, spec in SPECS.items() if cls.accepts(spec)}
    assert accepted, f"{word} accepts none of {list(SPECS)}"
    for name, spec in accepted.items():
        augment = REGISTRIES["augment"].create(Component(word, options or {}), spec)
        augment.read_words([f"w{code}" for code in range(spec.cardinality or 0)])
        x = rows([spec], _ROWS)[0]
        check_shape_and_range(augment, spec, x, f"{word} on {name}")
        check_randomness(augment, x, f"{word} on {name}")
        if augment.mixes:
            check_mixing(augment, x, f"{word} on {name}")
        elif is_image(spec):
            check_floats(augment, x, f"{word} on {name}")


def check_shape_and_range(augment: Augment, spec: TensorSpec, x: torch.Tensor, name: str) -> None:
    """Same shape and dtype; pictures and codes keep to the values that there may be; the batch given stays; one row or step is enough."""
    before = x.clone()
    changed = augment(x, _generator(0))
    assert changed.shape == x.shape and changed.dtype == x.dtype, f"{name}: {tuple(changed.shape)} {changed.dtype}"
    assert _same(x, before), f"{name}: the batch was changed in place"
    if is_image(spec):
        assert int(changed.min()) >= min(0, int(x.min())) and int(changed.max()) <= int(x.max()), f"{name}: values out of range"
    if spec.cardinality is not None:
        assert int(changed.min()) >= 0 and int(changed.max()) < spec.cardinality, f"{name}: codes that there are not"
    if spec.dtype == "float32":
        assert not torch.isinf(changed).any(), f"{name}: not finite"
        assert bool(torch.isnan(x).any()) or not torch.isnan(changed).any(), f"{name}: values went missing"
    assert augment(x[:1], _generator(0)).shape == x[:1].shape, f"{name}: one row"
    for length in (1, 2) if spec.ragged else ():  # a batch is as long as its longest row
        assert augment(x[:, :length], _generator(0)).shape == x[:, :length].shape, f"{name}: rows of {length} steps"


def check_randomness(augment: Augment, x: torch.Tensor, name: str) -> None:
    """All of it comes from the generator: same state, same bits; torch's own generator is not touched."""
    own = torch.random.get_rng_state()
    first = augment(x, _generator(1))
    assert _same(first, augment(x, _generator(1))), f"{name}: the same generator gives another result"
    assert torch.equal(own, torch.random.get_rng_state()), f"{name}: torch's default generator was used"
    others = [augment(x, _generator(seed)) for seed in range(2, 6)]
    assert any(not _same(first, other) for other in others), f"{name}: nothing is random"
    if not augment.mixes:
        same = x[:1].expand_as(x).contiguous()
        changed = augment(same, _generator(3))
        assert any(not _same(changed[0], row) for row in changed), f"{name}: every row is changed alike"


def check_floats(augment: Augment, x: torch.Tensor, name: str) -> None:
    """Pictures of floats are changed as those of bytes are."""
    changed = augment(x.float(), _generator(4))
    assert changed.dtype == torch.float32, f"{name}: floats became {changed.dtype}"
    assert torch.allclose(changed, augment(x, _generator(4)).float(), atol=0.51), f"{name}: floats and bytes differ"


def check_mixing(augment: Augment, x: torch.Tensor, name: str) -> None:
    """The share is one number from 0 to 1; a row mixed with itself stays; an own share of 1 leaves all, one of 0 gives the partner."""
    themselves_B = torch.arange(len(x))
    mixed, share = augment.mix(x, themselves_B, _generator(5))
    assert share.shape == () and share.dtype == torch.float32 and 0 <= float(share) <= 1, f"{name}: share {share}"
    assert torch.allclose(mixed.double(), x.double(), atol=1e-5), f"{name}: a row mixed with itself became another"
    shares = [float(augment.mix(x, themselves_B, _generator(seed))[1]) for seed in range(6)]
    assert len(set(shares)) > 1, f"{name}: every batch has the same share {shares[0]}"
    if x.dtype in (torch.uint8, torch.float32):
        light, dark = torch.full_like(x, 100), torch.zeros_like(x)
        half = torch.cat((light, dark))
        partner_B = torch.cat((themselves_B + len(x), themselves_B))
        mixed, share = augment.mix(half, partner_B, _generator(6))
        own = mixed[: len(x)].double().flatten(1).mean(dim=1) / 100
        assert torch.allclose(own, share.double(), atol=0.006), f"{name}: share {float(share)}, but rows hold {own}"


def check_refuses_other_arrays(word: str) -> None:
    """What changes pictures refuses codes, texts and plain numbers."""
    others = [TensorSpec("float32", (3,)), TensorSpec("int32", (9,), ragged=(0,), cardinality=30)]
    cls: Any = REGISTRIES["augment"].get(word)
    assert not any(cls.accepts(spec) for spec in others)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal in every place; NaN, which is padding, equals NaN."""
    return torch.equal(torch.nan_to_num(first, nan=1e30), torch.nan_to_num(second, nan=1e30))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
