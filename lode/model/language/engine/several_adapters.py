"""Several adapters beside one base, each token of a batch with its own. The base's layers stay what they are: hooks add to their outputs.

Legend: N tokens, X inputs of a layer, Y outputs, A adapters in use in this step, U their largest rank.

y = base(x) + factor_a up_a (down_a x) for the adapter a of each token. All adapters of a step are two products, (N, X) x (X, A U) and, with
what belongs to other adapters set to 0, (N, A U) x (A U, Y): no sorting, no copies of tokens; ranks are small against X and Y.
DoRA (Liu 2024, arXiv 2402.09353) then scales each output by magnitude_a / |W + factor_a up_a down_a|, computed when it is attached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ArtifactError, ModelError
from lode.model.language import adapter_files
from lode.model.language.contracts import Architecture
from lode.model.language.decoder import Decoder
from lode.model.language.engine.quantize import Int8Linear


@dataclass(slots=True)
class Beside:
    """What one adapter puts beside one layer. down: (U, X); up: (Y, U), its factor multiplied in; scale: (Y,) of DoRA, or None."""

    down: torch.Tensor
    up: torch.Tensor
    scale: torch.Tensor | None


@dataclass(slots=True)
class Stacked:
    """The adapters in use, for one layer. down: (A U, X); up: (A U, Y); scale: (A + 1, Y), 1 for the base, or None; A and U."""

    down: torch.Tensor
    up: torch.Tensor
    scale: torch.Tensor | None
    num: int


@dataclass(slots=True)
class Choice:
    """Which adapter each token of this step has. of_N: A for the base. layers: stacked adapters by the layer's name."""

    of_N: torch.Tensor
    is_other_NA1: torch.Tensor
    layers: dict[str, Stacked] = field(default_factory=dict)


class Adapters:
    """The adapters of an engine.

    Args:
        decoder: The base.
        architecture: Knows what PEFT calls its layers; None where no adapter is to be attached.
        base: The fingerprint of its weights before they became int8; None where they did not.
    """

    def __init__(self, decoder: Decoder, architecture: Architecture | None, base: str | None = None) -> None:
        self._decoder, self._architecture, self._base = decoder, architecture, base
        self._found: dict[str, dict[str, Beside]] = {}
        self._keys: dict[str, str] = {}
        self._num_attached = 0
        self._hooked: set[str] = set()
        self._stacks: dict[tuple[str, ...], dict[str, Stacked]] = {}
        self._choice: Choice | None = None

    @property
    def names(self) -> list[str]:
        """What requests can ask for."""
        return list(self._found)

    def key(self, name: str | None) -> str | None:
        """What names an adapter's weights, and those alone: another one that gets the same name later has another key."""
        return None if name is None else self._keys[name]

    def attach(self, name: str, folder: Path) -> None:
        """Read an adapter. Errors: ArtifactError where its files are damaged or of another base; ModelError where the name is taken."""
        if self._architecture is None:
            raise ModelError(
                "adapter: found an engine without an architecture, which cannot read adapters. Make it with `architecture=`."
            )
        if name in self._found:
            raise ModelError(f'adapter: found "{name}" attached already. Detach it first, or choose another name.')
        read = adapter_files.read(self._decoder, self._architecture, folder, self._base)
        if not all(tensor.isfinite().all() for delta in read.values() for tensor in (delta.down, delta.up * delta.factor)):
            # Its products with 0 would reach other requests of the same step
            raise ArtifactError(f"{folder}: found weights that are not finite, allowed are numbers. Train the adapter again.")
        self._found[name] = {layer: self._beside(self._decoder.get_submodule(layer), delta) for layer, delta in read.items()}
        self._num_attached += 1
        self._keys[name] = f"{self._num_attached} {name}"
        for layer in set(read) - self._hooked:
            self._decoder.get_submodule(layer).register_forward_hook(partial(self._add, layer))
            self._hooked.add(layer)

    def detach(self, name: str) -> None:
        """Forget an adapter. Errors: ModelError for an unknown one."""
        if name not in self._found:
            raise ModelError(f'adapter: found "{name}", which is not attached.')
        del self._found[name], self._keys[name]
        self._stacks.clear()

    def choose(self, names: Sequence[str | None], counts: np.ndarray) -> None:
        """Say which adapter the tokens of the next pass have: `counts[i]` tokens have `names[i]`."""
        used = tuple(sorted({name for name in names if name is not None}))
        if not used:
            self._choice = None
            return
        device = self._decoder.embed.weight.device
        of_N = torch.from_numpy(np.repeat([len(used) if name is None else used.index(name) for name in names], counts)).to(device)
        is_other_NA1 = (of_N[:, None] != torch.arange(len(used), device=device))[:, :, None]
        if used not in self._stacks:
            # What is in use changes with the requests; only the last few sets are worth their memory
            while len(self._stacks) >= 4:
                del self._stacks[next(iter(self._stacks))]
            self._stacks[used] = {layer: self._stack(used, layer) for layer in sorted({x for n in used for x in self._found[n]})}
        self._choice = Choice(of_N, is_other_NA1, self._stacks[used])

    def clear(self) -> None:
        """The next passes are the base's alone."""
        self._choice = None

    def _beside(self, layer: Any, delta: adapter_files.Delta) -> Beside:
        weight = self._decoder.embed.weight
        down, up = (tensor.to(weight.device, torch.float32) for tensor in (delta.down, delta.up * delta.factor))
        scale = None
        if delta.magnitude is not None:
            base = layer.dequantized() if isinstance(layer, Int8Linear) else layer.weight.float()
            lengths = torch.linalg.vector_norm(base + up @ down, dim=1)
            scale = (delta.magnitude.to(weight.device, torch.float32) / lengths).to(weight.dtype)
        return Beside(down.to(weight.dtype), up.to(weight.dtype), scale)

    def _stack(self, used: tuple[str, ...], layer: str) -> Stacked:
        found = [self._found[name].get(layer) for name in used]
        known = [each for each in found if each is not None]
        rank, (outputs, _), inputs = max(len(each.down) for each in known), known[0].up.shape, known[0].down.shape[1]
        down = known[0].down.new_zeros(len(used), rank, inputs)
        up = known[0].up.new_zeros(len(used), rank, outputs)
        scale = known[0].up.new_ones(len(used) + 1, outputs)
        for row, each in enumerate(found):
            if each is not None:
                down[row, : len(each.down)], up[row, : len(each.down)] = each.down, each.up.T
                if each.scale is not None:
                    scale[row] = each.scale
        is_scaled = any(each.scale is not None for each in known)
        return Stacked(down.flatten(0, 1), up.flatten(0, 1), scale if is_scaled else None, len(used))

    def _add(self, name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor | None:
        """The hook of one layer."""
        choice = self._choice
        stacked = None if choice is None else choice.layers.get(name)
        if choice is None or stacked is None:
            return None
        x_NX = inputs[0].flatten(0, -2)
        inner_NAU = functional.linear(x_NX, stacked.down).view(len(x_NX), stacked.num, -1)
        y_NY = torch.addmm(made.flatten(0, -2), inner_NAU.masked_fill(choice.is_other_NA1, 0.0).flatten(1), stacked.up)
        if stacked.scale is not None:
            bias = getattr(layer, "bias", None)
            scale = stacked.scale.index_select(0, choice.of_N)
            y_NY = y_NY * scale if bias is None else (y_NY - bias) * scale + bias
        return y_NY.view(made.shape)
