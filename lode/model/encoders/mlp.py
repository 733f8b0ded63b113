"""Numbers, or pictures laid flat, through linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Mlp as Layers
from lode.model.blocks import Standardize, is_image, is_numbers
from lode.model.columns import Periodic, Piecewise, Shifted
from lode.model.modules import Encoder


class Mlp(Encoder):
    """Everything laid flat and joined, then `depth` layers of linear, norm, activation and dropout.

    Args:
        width: Outputs of each layer.
        depth: Number of layers; 0 gives the (embedded) numbers themselves.
        dropout: Share of outputs set to 0 in training, after each layer.
        norm: Normalisation after each linear layer.
        activation: What follows each linear layer.
        embedding: Numbers as they are, or each beside learned functions of it: periodic (Gorishniy 2022, arXiv 2203.05556), shifted
            (cosines with phases, the PBLD of RealMLP, arXiv 2407.04491) or piecewise (linear between quantiles of the training rows).
        frequencies: Learned frequencies per number, with periodic and shifted embedding.
        embedding_width: Outputs per number beside the number itself, with an embedding.
        spread: Standard deviation of the frequencies at the start, with periodic and shifted embedding.
        bins: Quantiles between which the function is linear, with piecewise embedding.
    """

    reads = ("number", "binary", "category", "date", "image", "vector")
    joint = True

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(32, 256), log=True)] = 128,
        depth: Annotated[int, Range(0, search=(1, 4))] = 1,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
        norm: Literal["none", "layer", "batch", "rms"] = "none",
        activation: Literal[
            "relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "mish", "softplus", "hardswish"
        ] = "relu",
        embedding: Literal["none", "periodic", "shifted", "piecewise"] = "none",
        frequencies: Annotated[int, Range(1)] = 16,
        embedding_width: Annotated[int, Range(1)] = 8,
        spread: Annotated[float, Range(0, open_low=True)] = 0.3,
        bins: Annotated[int, Range(2)] = 48,
    ) -> None:
        super().__init__()
        self.scalers = nn.ModuleList(Standardize(spec) for spec in specs)
        num_numbers = sum(math.prod(spec.shape) for spec in specs)
        # Kept artifacts have their periodic embedding under this name
        self.periodic: Periodic | Shifted | Piecewise | None = None
        if embedding == "piecewise":
            self.periodic = Piecewise(num_numbers, bins, embedding_width)
        elif embedding != "none":
            kind = Periodic if embedding == "periodic" else Shifted
            self.periodic = kind(num_numbers, frequencies, embedding_width, spread)
        if self.periodic is not None:
            num_numbers = self.periodic.width
        self.layers = Layers(num_numbers, [width] * depth, dropout=dropout, norm=norm, activation=activation)
        self.width = self.layers.width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_numbers(spec) or is_image(spec)

    def start_from(self, inputs: Sequence[torch.Tensor]) -> None:
        if isinstance(self.periodic, Piecewise):
            self.periodic.start_from(self._flat(inputs))

    def _flat(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        flat = [scale(x).reshape(x.shape[0], -1) for scale, x in zip(self.scalers, inputs, strict=True)]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BD = self._flat(inputs)
        if self.periodic is not None:
            h_BD = self.periodic(h_BD)
        return self.layers(h_BD)
