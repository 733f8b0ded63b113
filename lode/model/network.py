"""The torch module behind the family `network`: encoders -> fusion -> trunk -> one linear head per output.

Arrays in, scores out; it knows no files and no loop. Next to read: `lode/model/fit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lode.core.errors import ModelError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.blocks import Mlp, is_codes, is_image, is_tokens
from lode.model.fusion import Attend, Concat
from lode.model.members import MemberHead, MemberMlp


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs that one encoder encodes together."""

    inputs: tuple[str, ...]
    encoder: Component


class NetworkModule(nn.Module):
    """Arrays by input name -> scores (B, K) by output name."""

    def __init__(
        self,
        specs: Mapping[str, TensorSpec],
        groups: Sequence[Group],
        outputs: Mapping[str, int],
        *,
        fusion: str,
        width: int,
        depth: int,
        dropout: float,
        norm: str,
        activation: str,
        members: int,
    ) -> None:
        super().__init__()
        self.groups = tuple(groups)
        registry = REGISTRIES["encoder"]
        self.encoders = nn.ModuleList(registry.create(group.encoder, [specs[name] for name in group.inputs]) for group in groups)
        widths: Any = [encoder.width for encoder in self.encoders]
        self.fusion = Attend(widths, width, dropout=dropout) if fusion == "attention" else Concat(widths)
        layers: Any = {"dropout": dropout, "norm": norm, "activation": activation}
        self.members = members if depth else 1
        self.trunk = (
            MemberMlp(self.fusion.width, [width] * depth, members, **layers)
            if self.members > 1
            else Mlp(self.fusion.width, [width] * depth, **layers)
        )
        # A list beside the names, because an output's name need not be an attribute's name
        self.outputs = tuple(outputs)
        size = self.trunk.width
        self.heads = nn.ModuleList(
            MemberHead(members, size, scores) if self.members > 1 else nn.Linear(size, scores) for scores in outputs.values()
        )

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scores float32 (B, K); in training with several members (B * members, K), a row's members side by side."""
        parts = [
            encoder([inputs[name] for name in group.inputs]) for group, encoder in zip(self.groups, self.encoders, strict=True)
        ]
        h_BD = self.trunk(self.fusion(parts))
        scores = {name: head(h_BD).float() for name, head in zip(self.outputs, self.heads, strict=True)}
        if self.members == 1:
            return scores
        if self.training:
            return {name: scores_BMK.flatten(0, 1) for name, scores_BMK in scores.items()}
        return {name: scores_BMK.mean(dim=1) for name, scores_BMK in scores.items()}

    def layer_name(self, module: str) -> str:
        """A submodule's name as a person says it: `encoders.0.layers` -> `encoder cnn (scan) layers`."""
        head, _, rest = module.partition(".")
        number, _, inner = rest.partition(".")
        if head == "encoders" and number.isdigit():
            group = self.groups[int(number)]
            return f"encoder {group.encoder.type} of {listed(group.inputs)}, layer {inner or 'itself'}"
        return f"head of {self.outputs[int(number)]}" if head == "heads" and number.isdigit() else module


def is_table(specs: Mapping[str, TensorSpec]) -> bool:
    """Whether every input is a number or a code: no pictures, no texts."""
    return all(len(spec.shape) <= 1 and not spec.ragged for spec in specs.values())


def default_encoder(spec: TensorSpec) -> Component:
    """The encoder of an input where the user named none."""
    if is_tokens(spec):
        return Component("pooled")
    if is_codes(spec):
        return Component("embedding")
    if is_image(spec):
        return Component("cnn")
    return Component("mlp", {"depth": 0, "embedding": "periodic"})


def group_inputs(specs: Mapping[str, TensorSpec], encoders: Mapping[str, Component]) -> tuple[Group, ...]:
    """Which inputs share an encoder: those that name the same joint encoder with the same options.

    Errors: ModelError where an encoder cannot take an input's array.
    """
    groups: dict[Any, list[str]] = {}
    chosen: dict[Any, Component] = {}
    for name, spec in specs.items():
        component = encoders.get(name) or default_encoder(spec)
        cls: Any = REGISTRIES["encoder"].get(component.type)
        if not cls.accepts(spec):
            raise _rejected("encoder", name, component, spec)
        options = tuple(sorted((key, repr(value)) for key, value in component.options.items()))
        key = (component.type, options) if cls.joint else name
        groups.setdefault(key, []).append(name)
        chosen[key] = component
    return tuple(Group(tuple(names), chosen[key]) for key, names in groups.items())


def build_augments(specs: Mapping[str, TensorSpec], augments: Mapping[str, Sequence[Component]]) -> dict[str, list[Any]]:
    """The random changes of each input, in the order of the file. Errors: ModelError where one cannot take the array."""
    made: dict[str, list[Any]] = {}
    for name, components in augments.items():
        for component in components:
            cls: Any = REGISTRIES["augment"].get(component.type)
            if not cls.accepts(specs[name]):
                raise _rejected("augment", name, component, specs[name])
            made.setdefault(name, []).append(REGISTRIES["augment"].create(component, specs[name]))
    return made


def _rejected(kind: str, name: str, component: Component, spec: TensorSpec) -> ModelError:
    registry: Any = REGISTRIES[kind]
    allowed = [word for word in registry.names() if registry.get(word).accepts(spec)]
    array = f"{spec.dtype} of shape {spec.shape}" + (f" with {spec.cardinality} codes" if spec.cardinality else "")
    return ModelError(
        f"inputs.{name}.{kind}: {component.type} cannot take this input ({array}), "
        f"allowed is {listed(allowed) or 'none'}. Choose another {kind} or another feature type."
    )
