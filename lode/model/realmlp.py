"""The module behind the family `realmlp`: encoders -> learned scale -> layers in NTK parametrisation -> heads.

RealMLP-TD (Holzmueller 2024, arXiv 2407.04491, section 3 and appendix A). Robust scaling with smooth clipping is what the feature
`number` does by itself; the embeddings are in `lode/model/columns.py`. Shape letters: B batch, D width, K scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lode.core.types import TensorSpec
from lode.model.members import drop
from lode.model.network import Group, build_encoders, named_layer
from lode.model.schedules import flat_cos

_START_ROWS = 4096
_CORNERS = 5


class RealmlpModule(nn.Module):
    """Arrays by input name -> scores (B, K) by output name.

    clamped: outputs whose predictions stay between the least and the largest target of the training rows.
    """

    def __init__(
        self,
        specs: Mapping[str, TensorSpec],
        groups: Sequence[Group],
        outputs: Mapping[str, int],
        *,
        width: int,
        depth: int,
        dropout: float,
        activation: str,
        clamped: Sequence[str],
    ) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.encoders = build_encoders(specs, groups)
        widths: Any = [encoder.width for encoder in self.encoders]
        width_in = sum(widths)
        self.scale_D = _at_rate(torch.ones(width_in), 6.0)
        self.scale_D.decay_factor = 1.0  # type: ignore[attr-defined]
        sizes = [width_in, *([width] * depth)]
        self.layers = nn.ModuleList(NtkLinear(low, high) for low, high in pairwise(sizes))
        self.activations = nn.ModuleList(Parametric(width, activation) for _ in range(depth))
        self.outputs = tuple(outputs)
        self.heads = nn.ModuleList(NtkLinear(sizes[-1], scores) for scores in outputs.values())
        self.dropout = self.share = dropout
        self.clamped = tuple(clamped)
        self.register_buffer("low", torch.full((len(outputs),), -math.inf))
        self.register_buffer("high", torch.full((len(outputs),), math.inf))

    low: torch.Tensor
    high: torch.Tensor

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        h_BD = self._encode(inputs) * self.scale_D
        for layer, activation in zip(self.layers, self.activations, strict=True):
            h_BD = activation(layer(h_BD))
            if self.share and self.training:
                h_BD = drop(h_BD, self.share)
        scores = {name: head(h_BD).float() for name, head in zip(self.outputs, self.heads, strict=True)}
        if self.training:
            return scores
        bounds = zip(self.outputs, self.low, self.high, strict=True)
        return {name: scores[name].clamp(low, high) if name in self.clamped else scores[name] for name, low, high in bounds}

    def on_progress(self, done: float) -> None:
        """Dropout stays for half of the steps, then falls to 0 with a half cosine. done: share of the steps."""
        self.share = self.dropout * flat_cos(done)

    def _encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        parts = [
            encoder([inputs[name] for name in group.inputs]) for group, encoder in zip(self.groups, self.encoders, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    @torch.no_grad()
    def start_from(self, inputs: Mapping[str, torch.Tensor], targets: Mapping[str, np.ndarray]) -> None:
        """First weights such that every unit has variance 1 on training rows and bends between them; the ranges of the targets."""
        for group, encoder in zip(self.groups, self.encoders, strict=True):
            encoder.start_from([inputs[name] for name in group.inputs])  # type: ignore[operator]
        h_BD = self._encode({name: array[:: -(-len(array) // _START_ROWS)] for name, array in inputs.items()}) * self.scale_D
        for layer, activation in zip(self.layers, self.activations, strict=True):
            h_BD = activation(layer.start_from(h_BD))  # type: ignore[operator]
        for head in self.heads:
            head.start_from(h_BD)  # type: ignore[operator]
            head.bias.zero_()  # type: ignore[operator, union-attr]
        for place, name in enumerate(self.outputs):
            known = targets[name][np.isfinite(targets[name])]
            if name in self.clamped and len(known):
                self.low[place], self.high[place] = float(known.min()), float(known.max())

    def layer_name(self, module: str) -> str:
        """A submodule's name as a person says it."""
        return named_layer(module, self.groups, self.outputs)


class NtkLinear(nn.Module):
    """x W / sqrt(D_in) + b with W from the standard normal distribution (Jacot 2018, arXiv 1806.07572); b learns at a tenth of the rate."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width_in))
        self.bias = _at_rate(torch.randn(width), 0.1)
        self.gain = max(width_in, 1) ** -0.5

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        return functional.linear(h_BD * self.gain, self.weight, self.bias)

    @torch.no_grad()
    def start_from(self, h_BD: torch.Tensor) -> torch.Tensor:
        """Outputs of variance 1, each with its zero at a random mean of five rows ("he+5": Steinwart 2019, arXiv 1903.11482)."""
        z_BD = functional.linear(h_BD * self.gain, self.weight)
        spread_D = z_BD.std(dim=0, correction=0)
        factor_D = torch.where(spread_D > 1e-6, 1.0 / spread_D.clamp_min(1e-6), 1.0)
        self.weight.mul_(factor_D.unsqueeze(1))
        z_BD = z_BD * factor_D
        rows_SD = torch.randint(len(z_BD), (_CORNERS, z_BD.shape[1]))
        share_SD = torch.empty(_CORNERS, z_BD.shape[1]).exponential_()
        self.bias.copy_(-(z_BD.gather(0, rows_SD) * share_SD).sum(dim=0) / share_SD.sum(dim=0))
        return z_BD + self.bias


class Parametric(nn.Module):
    """x + a (f(x) - x) with a learned a for each unit, from 1, at a tenth of the rate. f: selu or mish."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.share_D = _at_rate(torch.ones(width), 0.1)
        self.function = {"selu": functional.selu, "mish": functional.mish}[activation]

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        return torch.lerp(h_BD, self.function(h_BD), self.share_D)


def _at_rate(start: torch.Tensor, rate_factor: float) -> nn.Parameter:
    parameter = nn.Parameter(start)
    parameter.rate_factor = rate_factor  # type: ignore[attr-defined]
    return parameter
