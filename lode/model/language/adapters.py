"""Adapters beside a decoder's layers: put there, taken away for a while, merged into the weights and back. Files: `adapter_files.py`.

An adapted layer is a `LoraLinear` in the place of an `nn.Linear`; everything else of the decoder stays as it is, frozen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lode.core.errors import ModelError, listed, near_miss
from lode.model.lora import LoraLinear

PARTS: Mapping[str, tuple[str, ...]] = {"attention": ("q", "k", "v", "out"), "mlp": ("gate", "up", "down")}
"""Layers of a block that may get an adapter, by the module that holds them. A router and the experts behind it may not."""

Make = Callable[[nn.Linear], LoraLinear]


def layers(decoder: nn.Module) -> dict[str, nn.Module]:
    """Every layer that has or may get an adapter, by its name (`layers.0.attention.q`), in the decoder's order."""
    found = {}
    for name, module in decoder.named_modules():
        part, _, word = name.rpartition(".")
        if word in PARTS.get(part.rpartition(".")[2], ()):
            found[name] = module
    return found


def adapted(decoder: nn.Module) -> dict[str, LoraLinear]:
    """The layers that have an adapter."""
    return {name: module for name, module in decoder.named_modules() if isinstance(module, LoraLinear)}


def attach(decoder: nn.Module, targets: Sequence[str] | None, make: Make) -> None:
    """Freeze the decoder and put an adapter in the place of each target, in place.

    targets: "attention", "mlp", a layer's word ("q") or its whole name; None for all.
    Errors: ModelError for a target that is no layer of this decoder, and where there is an adapter already.
    """
    if adapted(decoder):
        raise ModelError("model.adapter: found an adapter on this decoder already, allowed is one. Merge it first (`merge: true`).")
    found = layers(decoder)
    names = list(found) if targets is None else _named(found, targets)
    decoder.requires_grad_(False)
    for name in names:
        layer = found[name]
        assert isinstance(layer, nn.Linear), f"{name} is no linear layer"
        put(decoder, name, make(layer))


def put(decoder: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a layer."""
    parent, _, word = name.rpartition(".")
    setattr(decoder.get_submodule(parent), word, module)


@contextmanager
def bare(decoder: nn.Module) -> Iterator[nn.Module]:
    """The decoder without its adapter inside the block: forward pass and state are the base's."""
    found = adapted(decoder)
    were_merged = [layer for layer in found.values() if layer.original is not None]
    for name, layer in found.items():
        layer.unmerge()
        put(decoder, name, layer.base)
    try:
        yield decoder
    finally:
        for name, layer in found.items():
            put(decoder, name, layer)
        for layer in were_merged:
            layer.merge()


def merge(decoder: nn.Module) -> None:
    """Put the merged weights in place: as fast as the base alone. The base's own weights are kept beside them."""
    for layer in adapted(decoder).values():
        layer.merge()


def unmerge(decoder: nn.Module) -> None:
    """Back to base and adapter, bit for bit."""
    for layer in adapted(decoder).values():
        layer.unmerge()


def fold(decoder: nn.Module) -> None:
    """Merge for good: plain layers again, no adapter, everything trainable as in any decoder."""
    for name, layer in adapted(decoder).items():
        layer.merge()
        put(decoder, name, layer.base)
    decoder.requires_grad_(True)


def trained(decoder: nn.Module) -> list[nn.Parameter]:
    """What an optimizer gets: the adapter's weights where there is one, else all."""
    return [weight for weight in decoder.parameters() if weight.requires_grad]


def fingerprint(decoder: nn.Module) -> str | None:
    """SHA-256 of the weights that adapters may stand beside, without them, as bfloat16: the same for a base that was loaded in 16 bits.

    None where the weights are no floats of 16 bits and more (an int8 base): then nothing can be compared.
    """
    digest = hashlib.sha256()
    with bare(decoder):
        for name, layer in layers(decoder).items():
            weight: Any = getattr(layer, "weight", None)
            if weight is None or not weight.is_floating_point() or weight.dtype == torch.float16:
                return None
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            digest.update(memoryview(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy()))  # type: ignore[arg-type]
    return digest.hexdigest()


def _named(found: Mapping[str, nn.Module], targets: Sequence[str]) -> list[str]:
    """The names that targets stand for, in the decoder's order. Errors: ModelError."""
    wanted: set[str] = set()
    for target in targets:
        names = {name for name in found if target == name or target in name.split(".")[-2:]}
        if not names:
            words = [*dict.fromkeys(word for name in found for word in name.split(".")[-2:])]
            raise ModelError(
                f'model.adapter.targets: found "{target}", allowed are {listed(words, 9)}, or a whole name such as '
                f'"{next(iter(found), "layers.0.attention.q")}".{near_miss(target, [*words, *found])}'
            )
        wanted |= names
    return [name for name in found if name in wanted]
