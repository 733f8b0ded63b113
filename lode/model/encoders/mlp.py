"""Numbers, or pictures laid flat, through linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Mlp as Layers
from lode.model.blocks import Standardize, is_image, is_numbers
from lode.model.modules import Encoder


class Mlp(Encoder):
    """Everything laid flat and joined, then `depth` layers of linear, norm, activation and dropout.

    Args:
        width: Outputs of each layer.
        depth: Number of layers; 0 gives the (embedded) numbers themselves.
        dropout: Share of outputs set to 0 in training, after each layer.
        norm: Normalisation after each linear layer.
        activation: What follows each linear layer.
        embedding: Numbers as they are, or each through learned periodic functions (Gorishniy 2022, arXiv 2203.05556).
        frequencies: Learned frequencies per number, with periodic embedding.
        embedding_width: Outputs per number, with periodic embedding.
        spread: Standard deviation of the frequencies at the start, with periodic embedding.
    """

    joint = True

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 128,
        depth: Annotated[int, Range(0)] = 1,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        norm: Literal["none", "layer", "batch"] = "none",
        activation: Literal["relu", "gelu", "silu"] = "relu",
        embedding: Literal["none", "periodic"] = "none",
        frequencies: Annotated[int, Range(1)] = 16,
        embedding_width: Annotated[int, Range(1)] = 8,
        spread: Annotated[float, Range(0, open_low=True)] = 0.3,
    ) -> None:
        super().__init__()
        self.scalers = nn.ModuleList(Standardize(spec) for spec in specs)
        num_numbers = sum(math.prod(spec.shape) for spec in specs)
        self.periodic = None
        if embedding == "periodic":
            self.periodic = _Periodic(num_numbers, frequencies, embedding_width, spread)
            num_numbers = self.periodic.width
        self.layers = Layers(num_numbers, [width] * depth, dropout=dropout, norm=norm, activation=activation)
        self.width = self.layers.width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_numbers(spec) or is_image(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        flat = [scale(x).reshape(x.shape[0], -1) for scale, x in zip(self.scalers, inputs, strict=True)]
        h_BD = flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
        if self.periodic is not None:
            h_BD = self.periodic(h_BD)
        return self.layers(h_BD)


class _Periodic(nn.Module):
    """Each number to [itself, relu(linear(cos, sin of learned frequencies))]: (B, F) -> (B, F * (1 + embedding_width))."""

    def __init__(self, num_numbers: int, frequencies: int, embedding_width: int, spread: float) -> None:
        super().__init__()
        self.frequency_FE = nn.Parameter(torch.randn(num_numbers, frequencies) * spread)
        bound = 1.0 / math.sqrt(2 * frequencies)
        self.weight_FED = nn.Parameter(torch.empty(num_numbers, 2 * frequencies, embedding_width).uniform_(-bound, bound))
        self.bias_FD = nn.Parameter(torch.zeros(num_numbers, embedding_width))
        self.width = num_numbers * (1 + embedding_width)

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        angle_BFE = (2 * math.pi) * x_BF.unsqueeze(2) * self.frequency_FE
        waves_FBE = torch.cat((angle_BFE.cos(), angle_BFE.sin()), dim=2).transpose(0, 1)
        h_FBD = functional.relu(torch.baddbmm(self.bias_FD.unsqueeze(1), waves_FBE, self.weight_FED))
        return torch.cat((x_BF, h_FBD.transpose(0, 1).flatten(1)), dim=1)
