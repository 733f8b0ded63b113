"""What every augmentation must keep. `check_augment("flip")`; third parties run it on their own words."""

from __future__ import annotations

from typing import Any

import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.modules import Augment
from lode.testing.encoder import SPECS, rows


def check_augment(word: str) -> None:
    """Everything below, for one word of the registry, on every array that it accepts."""
    cls = REGISTRIES["augment"].get(word)
    assert issubclass(cls, Augment), f"{word}: an augmentation inherits from lode.model.modules.Augment"
    accepted = {name: spec for name, spec in SPECS.items() if cls.accepts(spec)}
    assert accepted, f"{word} accepts none of {list(SPECS)}"
    for name, spec in accepted.items():
        augment = REGISTRIES["augment"].create(Component(word), spec)
        x = rows([spec], 16)[0]
        check_shape_and_range(augment, x, f"{word} on {name}")
        check_randomness(augment, x, f"{word} on {name}")
        check_floats(augment, x, f"{word} on {name}")


def check_shape_and_range(augment: Augment, x: torch.Tensor, name: str) -> None:
    """Same shape and dtype, no value beyond those that came in; the batch given is left as it is; one row is enough."""
    before = x.clone()
    changed = augment(x, _generator(0))
    assert changed.shape == x.shape and changed.dtype == x.dtype, f"{name}: {tuple(changed.shape)} {changed.dtype}"
    assert torch.equal(x, before), f"{name}: the batch was changed in place"
    assert int(changed.min()) >= min(0, int(x.min())) and int(changed.max()) <= int(x.max()), f"{name}: values out of range"
    assert augment(x[:1], _generator(0)).shape == x[:1].shape, f"{name}: one row"


def check_randomness(augment: Augment, x: torch.Tensor, name: str) -> None:
    """All of it comes from the generator: same state, same bits; torch's own generator is not touched."""
    own = torch.random.get_rng_state()
    first = augment(x, _generator(1))
    assert torch.equal(first, augment(x, _generator(1))), f"{name}: the same generator gives another result"
    assert torch.equal(own, torch.random.get_rng_state()), f"{name}: torch's default generator was used"
    others = [augment(x, _generator(seed)) for seed in range(2, 6)]
    assert any(not torch.equal(first, other) for other in others), f"{name}: nothing is random"
    same = x[:1].expand_as(x).contiguous()
    changed = augment(same, _generator(3))
    assert any(not torch.equal(changed[0], row) for row in changed), f"{name}: every row is changed alike"


def check_floats(augment: Augment, x: torch.Tensor, name: str) -> None:
    """Pictures of floats are changed as those of bytes are."""
    changed = augment(x.float(), _generator(4))
    assert changed.dtype == torch.float32, f"{name}: floats became {changed.dtype}"
    assert torch.allclose(changed, augment(x, _generator(4)).float(), atol=0.51), f"{name}: floats and bytes differ"


def check_accepts_pictures_only(word: str) -> None:
    """Codes, texts and plain numbers are refused."""
    others = [TensorSpec("float32", (3,)), TensorSpec("int32", (9,), ragged=(0,), cardinality=30)]
    cls: Any = REGISTRIES["augment"].get(word)
    assert not any(cls.accepts(spec) for spec in others)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
