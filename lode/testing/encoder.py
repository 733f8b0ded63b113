"""What every encoder must keep. `check_encoder("resnet")`; third parties run it on their own words.

It is given every kind of array that the features make; at least one of them must be accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
    "set of vectors": TensorSpec("float32", (7, 3), ragged=(0,), ordered=False),
    "set of codes": TensorSpec("int32", (6,), ragged=(0,), cardinality=9, ordered=False),
    "recording": TensorSpec("int16", (4000,), offset=(0.0,), scale=(1 / 32768,), rate=8000),
}
"""One spec of each kind of array."""
Word = str | Component
"""An encoder's word, or the word with its options."""


def check_encoder(word: Word) -> None:
    """Everything below, for one word of the registry (or a component with its options), on every array that it accepts."""
    registry = REGISTRIES["encoder"]
    cls: Any = registry.get(word.type if isinstance(word, Component) else word)
    assert issubclass(cls, Encoder), f"{word}: an encoder inherits from lode.model.modules.Encoder"
    accepted = {name: spec for name, spec in SPECS.items() if cls.accepts(spec)}
    assert accepted, f"{word} accepts none of {list(SPECS)}"
    for name, spec in accepted.items():
        specs = [spec, spec] if cls.joint else [spec]
        check_shapes(word, specs, name)
        check_every_parameter_learns(word, specs, name)
        check_evaluation_is_repeatable_and_rowwise(word, specs, name)
        check_padding_changes_nothing(word, specs, name)
        check_state_round_trip(word, specs, name)
        check_same_seed_same_weights(word, specs, name)
        check_hostile_rows(word, specs, name)


def make(word: Word, specs: Sequence[TensorSpec], seed: int = 0) -> Encoder:
    """An encoder with its default options, or those of the component, and weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder: Encoder = REGISTRIES["encoder"].create(word if isinstance(word, Component) else Component(word), specs)
        return encoder


def rows(specs: Sequence[TensorSpec], num_rows: int, seed: int = 0) -> list[torch.Tensor]:
    """Random rows of each spec, in its dtype."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for spec in specs:
        shape = (num_rows, *spec.shape)
        if spec.dtype == "float32":
            made.append(
                _padded(torch.randn(shape, generator=generator)) if spec.ragged else torch.randn(shape, generator=generator)
            )
        elif spec.dtype == "int16":
            made.append(torch.randint(-9000, 9000, shape, generator=generator, dtype=torch.int16))
        else:
            dtype = getattr(torch, spec.dtype)
            made.append(torch.randint(0, spec.cardinality or 256, shape, generator=generator, dtype=dtype))
    return made


def _padded(x_BTD: torch.Tensor) -> torch.Tensor:
    """Every row but the first one step shorter than the one before, the last ones without any step: NaN stands behind their end."""
    steps = x_BTD.shape[1]
    length_B = (steps - torch.arange(len(x_BTD))).clamp_min(0)
    return x_BTD.masked_fill((torch.arange(steps) >= length_B[:, None])[:, :, None], float("nan"))


def check_shapes(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """(B, width) in float32, for one row and for several, in training and in evaluation; finite."""
    encoder = make(word, specs)
    assert isinstance(encoder.width, int), f"{word}: width must be set in __init__"
    for num_rows, training in ((5, True), (5, False), (1, False)):
        encoder.train(training)
        h_BD = encoder(rows(specs, num_rows))
        assert h_BD.shape == (num_rows, encoder.width), f"{word} on {name}: shape {tuple(h_BD.shape)}, width {encoder.width}"
        assert h_BD.dtype == torch.float32, f"{word} on {name}: {h_BD.dtype}"
        assert torch.isfinite(h_BD).all(), f"{word} on {name}: not finite"


def check_every_parameter_learns(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """A loss on the result reaches every parameter."""
    encoder = make(word, specs).train()
    out = encoder(rows(specs, 8))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    idle = [key for key, parameter in encoder.named_parameters() if parameter.grad is None and parameter.requires_grad]
    assert not idle, f"{word} on {name}: no gradient reaches {idle}"


def check_evaluation_is_repeatable_and_rowwise(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """In evaluation nothing is random, nothing is learnt, and a row's vector does not depend on the other rows."""
    encoder = make(word, specs).eval()
    inputs = rows(specs, 6)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    first = encoder(inputs)
    assert torch.equal(first, encoder(inputs)), f"{word} on {name}: two evaluations differ"
    turned = encoder([x.flip(0) for x in inputs]).flip(0)
    assert torch.allclose(first, turned, atol=1e-5), f"{word} on {name}: a row depends on the others"
    assert all(torch.equal(before[key], tensor) for key, tensor in encoder.state_dict().items())


def check_padding_changes_nothing(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """A row is the same alone and in a batch with longer ones: what stands behind its end counts nowhere."""
    if not specs[0].ragged:
        return
    encoder = make(word, specs).eval()
    whole = specs[0].shape[0]
    for length in (1, whole // 2, whole - 1):
        alone = [x[:1, :length] for x in rows(specs, 3)]
        behind = math.nan if specs[0].dtype == "float32" else 0
        beside = [torch.cat((x[:1].clone(), x[:1]), dim=0) for x in rows(specs, 3)]
        for x in beside:
            x[0, length:] = behind
        difference = (encoder(alone) - encoder(beside)[:1]).abs().max()
        assert difference < 1e-5, f"{word} on {name}: {whole - length} steps of padding change a row by {difference:.1e}"


def check_state_round_trip(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """Another instance with this one's state gives the same bits."""
    first, second = make(word, specs, 0).eval(), make(word, specs, 1).eval()
    second.load_state_dict(first.state_dict())
    inputs = rows(specs, 4)
    assert torch.equal(first(inputs), second(inputs)), f"{word} on {name}: state_dict does not hold everything"


def check_same_seed_same_weights(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """Weights come from torch's default generator alone."""
    first, second = make(word, specs, 3).state_dict(), make(word, specs, 3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first), f"{word} on {name}: weights are not seeded"


def check_hostile_rows(word: Word, specs: Sequence[TensorSpec], name: str) -> None:
    """Rows of zeros (empty texts, unknown categories, black pictures, silence) or padding give finite vectors and gradients."""
    for value in (0, math.nan) if specs[0].ragged and specs[0].dtype == "float32" else (0,):
        encoder = make(word, specs).train()
        out = encoder([torch.full_like(x, value) for x in rows(specs, 4)])
        assert torch.isfinite(out).all(), f"{word} on {name}: rows of {value} are not finite"
        out.sum().backward()
        wrong = [k for k, p in encoder.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        assert not wrong, f"{word} on {name}: rows of {value} make gradients of {wrong} that are not finite"
