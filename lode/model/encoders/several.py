"""One input through several encoders, their vectors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, EncoderSpec, TensorSpec
from lode.model.choices import merged
from lode.model.modules import Encoder


class Several(Encoder):
    """Several encoders read the same array and are trained together: what one misses, another may see.

    A wide part (runs of words, `pooled`) remembers, a deep part (`textcnn`, `lstm`) generalises: Cheng 2016, arXiv 1606.07792.

    Args:
        encoders: The encoders, each a word or a word with options; left open, pooled over runs of up to 3 tokens, and textcnn.
    """

    reads = ("text",)
    fits = (("encoders", "not empty", None),)

    def __init__(self, specs: Sequence[TensorSpec], *, encoders: list[EncoderSpec] | None = None) -> None:
        super().__init__()
        wide = Component("pooled", {"width": 16, "grams": 3, "scale": "sqrt", "dropout": 0.3})
        self.components: list[Component] = list(encoders) if encoders else [wide, Component("textcnn")]
        registry: Any = REGISTRIES["encoder"]
        for component in self.components:
            if not registry.get(component.type).accepts(specs[0]):
                raise ModelError(
                    f"encoder several: {component.type} cannot take this input ({specs[0].dtype} of shape {specs[0].shape}), "
                    "allowed are encoders that can. Choose others: encoders: [...]"
                )
        self.parts = nn.ModuleList(registry.create(component, specs) for component in self.components)
        self.width = sum(part.width for part in self.encoders)

    @property
    def encoders(self) -> list[Encoder]:
        """The encoders, in order."""
        return [part for part in self.parts if isinstance(part, Encoder)]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return spec.cardinality is not None and spec.ragged == (0,) and spec.ordered

    def start_from(self, inputs: Sequence[torch.Tensor]) -> None:
        for part in self.encoders:
            part.start_from(inputs)

    def wants(self) -> Mapping[str, Any]:
        return merged(part.wants() for part in self.encoders)

    def settle(self) -> None:
        for part in self.encoders:
            part.settle()

    def portable(self, options: Mapping[str, Any]) -> dict[str, Any]:
        registry = REGISTRIES["encoder"]
        own = [
            {"type": component.type, **part.portable({**registry.resolve(component), "type": component.type})}
            for component, part in zip(self.components, self.encoders, strict=True)
        ]
        return {**options, "encoders": own}

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part(inputs) for part in self.parts], dim=1)
