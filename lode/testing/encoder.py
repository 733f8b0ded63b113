"""What every encoder must keep. `check_encoder("resnet")`; third parties run it on their own words.

It is given every kind of array that the features make; at least one of them must be accepted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.modules import Encoder

SPECS: dict[str, TensorSpec] = {
    "numbers": TensorSpec("float32", (3,)),
    "one number": TensorSpec("float32", (1,)),
    "code": TensorSpec("int32", (), cardinality=5),
    "codes": TensorSpec("int32", (4,), cardinality=7),
    "tokens": TensorSpec("int32", (9,), ragged=(0,), cardinality=30),
    "small picture": TensorSpec("uint8", (16, 16, 1), scale=(1 / 255,)),
    "picture": TensorSpec("uint8", (40, 32, 3), offset=(120.0, 118.0, 110.0), scale=(0.01, 0.01, 0.01)),
    "sequence": TensorSpec("float32", (12, 2), ragged=(0,)),
}
"""One spec of each kind of array."""


def check_encoder(word: str) -> None:
    """Everything below, for one word of the registry, on every array that it accepts."""
    registry = REGISTRIES["encoder"]
    cls = registry.get(word)
    assert issubclass(cls, Encoder), f"{word}: an encoder inherits from lode.model.modules.Encoder"
    accepted = {name: spec for name, spec in SPECS.items() if cls.accepts(spec)}
    assert accepted, f"{word} accepts none of {list(SPECS)}"
    for name, spec in accepted.items():
        specs = [spec, spec] if cls.joint else [spec]
        check_shapes(word, specs, name)
        check_every_parameter_learns(word, specs, name)
        check_evaluation_is_repeatable_and_rowwise(word, specs, name)
        check_state_round_trip(word, specs, name)
        check_same_seed_same_weights(word, specs, name)
        check_hostile_rows(word, specs, name)


def make(word: str, specs: Sequence[TensorSpec], seed: int = 0) -> Encoder:
    """An encoder with its default options and weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return REGISTRIES["encoder"].create(Component(word), specs)


def rows(specs: Sequence[TensorSpec], num_rows: int, seed: int = 0) -> list[torch.Tensor]:
    """Random rows of each spec, in its dtype."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for spec in specs:
        shape = (num_rows, *spec.shape)
        if spec.dtype == "float32":
            made.append(torch.randn(shape, generator=generator))
        else:
            dtype = getattr(torch, spec.dtype)
            made.append(torch.randint(0, spec.cardinality or 256, shape, generator=generator, dtype=dtype))
    return made


def check_shapes(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """(B, width) in float32, for one row and for several, in training and in evaluation; finite."""
    encoder = make(word, specs)
    assert isinstance(encoder.width, int), f"{word}: width must be set in __init__"
    for num_rows, training in ((5, True), (5, False), (1, False)):
        encoder.train(training)
        h_BD = encoder(rows(specs, num_rows))
        assert h_BD.shape == (num_rows, encoder.width), f"{word} on {name}: shape {tuple(h_BD.shape)}, width {encoder.width}"
        assert h_BD.dtype == torch.float32, f"{word} on {name}: {h_BD.dtype}"
        assert torch.isfinite(h_BD).all(), f"{word} on {name}: not finite"


def check_every_parameter_learns(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """A loss on the result reaches every parameter."""
    encoder = make(word, specs).train()
    out = encoder(rows(specs, 8))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    idle = [key for key, parameter in encoder.named_parameters() if parameter.grad is None]
    assert not idle, f"{word} on {name}: no gradient reaches {idle}"


def check_evaluation_is_repeatable_and_rowwise(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """In evaluation nothing is random, nothing is learnt, and a row's vector does not depend on the other rows."""
    encoder = make(word, specs).eval()
    inputs = rows(specs, 6)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    first = encoder(inputs)
    assert torch.equal(first, encoder(inputs)), f"{word} on {name}: two evaluations differ"
    turned = encoder([x.flip(0) for x in inputs]).flip(0)
    assert torch.allclose(first, turned, atol=1e-5), f"{word} on {name}: a row depends on the others"
    assert all(torch.equal(before[key], tensor) for key, tensor in encoder.state_dict().items())


def check_state_round_trip(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """Another instance with this one's state gives the same bits."""
    first, second = make(word, specs, 0).eval(), make(word, specs, 1).eval()
    second.load_state_dict(first.state_dict())
    inputs = rows(specs, 4)
    assert torch.equal(first(inputs), second(inputs)), f"{word} on {name}: state_dict does not hold everything"


def check_same_seed_same_weights(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """Weights come from torch's default generator alone."""
    first, second = make(word, specs, 3).state_dict(), make(word, specs, 3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first), f"{word} on {name}: weights are not seeded"


def check_hostile_rows(word: str, specs: Sequence[TensorSpec], name: str) -> None:
    """Rows of zeros (empty texts, unknown categories, black pictures) give finite vectors and gradients."""
    encoder = make(word, specs).train()
    out = encoder([torch.zeros_like(x) for x in rows(specs, 4)])
    assert torch.isfinite(out).all(), f"{word} on {name}: rows of zeros are not finite"
    out.sum().backward()
    wrong = [k for k, p in encoder.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    assert not wrong, f"{word} on {name}: rows of zeros make gradients of {wrong} that are not finite"
