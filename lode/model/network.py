"""The torch module behind the family `network`: encoders -> fusion -> trunk -> one linear head per output.

Arrays in, scores out; it knows no files and no loop. Next to read: `lode/model/fit.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lode.core.errors import ModelError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.blocks import Mlp, is_codes, is_image, is_numbers, is_series, is_set, is_tokens, is_waveform
from lode.model.fusion import Attend, Concat
from lode.model.initial import initialise
from lode.model.members import MemberHead, MemberMlp, averaged

_MOST_CELLS = 64
"""An input of more numbers is a vector (of genes, of an embedding), not a few columns of a table."""


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs that one encoder encodes together."""

    inputs: tuple[str, ...]
    encoder: Component


class NetworkModule(nn.Module):
    """Arrays by input name -> scores (B, K) by output name.

    averages: per output, how its members' scores become one (`members.averaged`); others' are averaged as they are.
    steps: output -> input at whose steps it has scores (B, T, K); NaN where a row has no step.
    """

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
        averages: Mapping[str, str] | None = None,
        steps: Mapping[str, str] | None = None,
        init: str = "default",
    ) -> None:
        super().__init__()
        self.steps = dict(steps or {})
        self.averages = dict(averages or {})
        self.groups = tuple(groups)
        self.encoders = build_encoders(specs, groups)
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
        self.heads = nn.ModuleList(self._head(name, scores) for name, scores in outputs.items())
        initialise(self, init)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scores float32 (B, K); in training with several members (B * members, K), a row's members side by side."""
        if self.steps:
            return self._at_steps(inputs) | (self._of_rows(inputs) if len(self.steps) < len(self.outputs) else {})
        return self._of_rows(inputs)

    def _head(self, name: str, num_scores: int) -> nn.Module:
        if name in self.steps:
            return nn.Linear(int(self.encoders[self._source(name)].width), num_scores)  # type: ignore[arg-type]
        size = self.trunk.width
        return MemberHead(self.members, size, num_scores) if self.members > 1 else nn.Linear(size, num_scores)

    def _source(self, output: str) -> int:
        """The place of the encoder whose steps an output reads. Errors: ModelError where that encoder gives none."""
        place = next(place for place, group in enumerate(self.groups) if self.steps[output] in group.inputs)
        if len(self.groups[place].inputs) > 1 or not self.encoders[place].gives_steps:
            registry: Any = REGISTRIES["encoder"]
            allowed = [word for word in registry.names() if registry.get(word).gives_steps]
            raise ModelError(
                f"inputs.{self.steps[output]}.encoder: {self.groups[place].encoder.type} gives one vector a row, and {output} needs one "
                f"a step, allowed is {listed(allowed)}. Choose one of these."
            )
        return place

    def _at_steps(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scores float32 (B, T, K) of the outputs that have some at every step."""
        found = {}
        for name, head in zip(self.outputs, self.heads, strict=True):
            if name in self.steps:
                encoder: Any = self.encoders[self._source(name)]
                h_BTD, keep_BT = encoder.steps([inputs[self.steps[name]]])
                found[name] = head(h_BTD).float().masked_fill(~keep_BT[:, :, None], float("nan"))
        return found

    @property
    def width(self) -> int:
        """D of what `represent` returns."""
        return int(self.trunk.width)

    def represent(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the heads read of a row (B, D); the mean of the members. What `train.pretrain` trains."""
        h = self._trunk_of(inputs)
        return h if self.members == 1 else h.mean(dim=1)

    def _trunk_of(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        parts = [
            encoder([inputs[name] for name in group.inputs]) for group, encoder in zip(self.groups, self.encoders, strict=True)
        ]
        found: torch.Tensor = self.trunk(self.fusion(parts))
        return found

    def _of_rows(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        h_BD = self._trunk_of(inputs)
        heads = {name: head for name, head in zip(self.outputs, self.heads, strict=True) if name not in self.steps}
        scores = {name: head(h_BD).float() for name, head in heads.items()}
        if self.members == 1:
            return scores
        if self.training:
            return {name: scores_BMK.flatten(0, 1) for name, scores_BMK in scores.items()}
        return {name: averaged(scores_BMK, self.averages.get(name, "scores")) for name, scores_BMK in scores.items()}

    def start_from(self, inputs: Mapping[str, torch.Tensor], targets: Mapping[str, np.ndarray]) -> None:
        """First weights that depend on training rows: what the encoders learn from them."""
        for group, encoder in zip(self.groups, self.encoders, strict=True):
            encoder.start_from([inputs[name] for name in group.inputs])  # type: ignore[operator]

    def layer_name(self, module: str) -> str:
        """A submodule's name as a person says it: `encoders.0.layers` -> `encoder cnn (scan) layers`."""
        return named_layer(module, self.groups, self.outputs)


def build_encoders(specs: Mapping[str, TensorSpec], groups: Sequence[Group]) -> nn.ModuleList:
    """One encoder for each group. Errors: ModelError where options do not fit one another or the input, which it names if it is alone."""
    return nn.ModuleList(_encoder(specs, group) for group in groups)


def _encoder(specs: Mapping[str, TensorSpec], group: Group) -> Any:
    try:
        return REGISTRIES["encoder"].create(group.encoder, [specs[name] for name in group.inputs])
    except ModelError as error:
        if len(group.inputs) > 1:  # several columns of a table: what they share is no option of one
            raise
        raise ModelError(f"inputs.{group.inputs[0]}.{error}") from error


def named_layer(module: str, groups: Sequence[Group], outputs: Sequence[str]) -> str:
    """The name of a submodule of `encoders` or `heads` as a person says it; others as they are."""
    head, _, rest = module.partition(".")
    number, _, inner = rest.partition(".")
    if head == "encoders" and number.isdigit():
        group = groups[int(number)]
        return f"encoder {group.encoder.type} of {listed(group.inputs)}, layer {inner or 'itself'}"
    return f"head of {outputs[int(number)]}" if head == "heads" and number.isdigit() else module


def is_table(specs: Mapping[str, TensorSpec]) -> bool:
    """Whether every input is a number or a code: no pictures, no texts."""
    return all(map(is_cells, specs.values()))


def is_cells(spec: TensorSpec) -> bool:
    """Whether an input is a number or a code, or a few of them: a column of a table."""
    return len(spec.shape) <= 1 and not spec.ragged and not is_waveform(spec) and math.prod(spec.shape) <= _MOST_CELLS


def default_encoder(spec: TensorSpec) -> Component:
    """The encoder of an input where the user named none."""
    if is_set(spec):
        return Component("set")
    if is_tokens(spec):
        return Component("pooled")
    if is_codes(spec):
        return Component("embedding")
    if is_image(spec):
        return Component("cnn")
    if is_waveform(spec):
        return Component("mel_cnn")
    if is_series(spec):
        return Component("tcn")
    if is_numbers(spec) and not is_cells(spec):
        return Component("mlp")  # a long vector: periodic functions of each number would be many weights
    return Component("mlp", {"depth": 0, "embedding": "periodic"})


def group_inputs(
    specs: Mapping[str, TensorSpec],
    encoders: Mapping[str, Component],
    numbers: Component | None = None,
    codes: Component | None = None,
    texts: Component | None = None,
) -> tuple[Group, ...]:
    """Which inputs share an encoder: those that name the same joint encoder with the same options.

    numbers, codes, texts: the encoders of columns of a table, and of texts, that name none. Errors: ModelError where an encoder cannot
    take an array.
    """
    groups: dict[Any, list[str]] = {}
    chosen: dict[Any, Component] = {}
    for name, spec in specs.items():
        column = codes if spec.cardinality is not None else numbers
        wanted = texts if is_tokens(spec) and not is_set(spec) else column if is_cells(spec) else None
        component = encoders.get(name) or wanted or default_encoder(spec)
        cls: Any = REGISTRIES["encoder"].get(component.type)
        if not cls.accepts(spec):
            raise _rejected("encoder", name, component, spec)
        options = tuple(sorted((key, repr(value)) for key, value in component.options.items()))
        key = (component.type, options) if cls.joint else name
        groups.setdefault(key, []).append(name)
        chosen[key] = component
    return tuple(Group(tuple(names), chosen[key]) for key, names in groups.items())


def build_augments(
    specs: Mapping[str, TensorSpec], augments: Mapping[str, Sequence[Component]], words: Mapping[str, Sequence[str]]
) -> dict[str, list[Any]]:
    """The random changes of each input, in the order of the file. words: see `Shapes`. Errors: ModelError for one that cannot be."""
    made: dict[str, list[Any]] = {}
    for name, components in augments.items():
        for component in components:
            cls: Any = REGISTRIES["augment"].get(component.type)
            if not cls.accepts(specs[name]):
                raise _rejected("augment", name, component, specs[name])
            step = REGISTRIES["augment"].create(component, specs[name])
            if step.wants_words:
                step.read_words(words[name])
            made.setdefault(name, []).append(step)
    return made


def _rejected(kind: str, name: str, component: Component, spec: TensorSpec) -> ModelError:
    registry: Any = REGISTRIES[kind]
    allowed = [word for word in registry.names() if registry.get(word).accepts(spec)]
    array = f"{spec.dtype} of shape {spec.shape}" + (f" with {spec.cardinality} codes" if spec.cardinality else "")
    return ModelError(
        f"inputs.{name}.{kind}: {component.type} cannot take this input ({array}), "
        f"allowed is {listed(allowed) or 'none'}. Choose another {kind} or another feature type."
    )
