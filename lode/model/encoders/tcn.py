"""Series through dilated convolutions that look back only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_series
from lode.model.modules import Encoder
from lode.model.steps import pooled, stacked

_MOST_BLOCKS = 10


class Tcn(Encoder):
    """Residual blocks of two causal convolutions, the steps they skip doubling from block to block (Bai 2018, arXiv 1803.01271).

    Series that name the same encoder with the same options are the channels of one.

    Args:
        width: Channels of every block, and the width of the result.
        depth: Number of blocks; left open, as many as it takes to see the whole series, 10 at most.
        kernel: Steps that a convolution takes in.
        dropout: Share of channels set to 0 in training, after each convolution.
        pool: What is left of the steps: mean, max or the last one.
    """

    reads = ("series",)
    joint = True
    gives_steps: ClassVar[bool] = True

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(16, 128), log=True)] = 64,
        depth: Annotated[int, Range(1, 16)] | None = None,
        kernel: Annotated[int, Range(2)] = 5,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
        pool: Literal["mean", "max", "last"] = "mean",
    ) -> None:
        super().__init__()
        self.scalers = nn.ModuleList(Standardize(spec) for spec in specs)
        longest = max(spec.shape[0] for spec in specs)
        # d blocks see 1 + 2 (kernel - 1) (2^d - 1) steps
        needed = math.ceil(math.log2(max(longest - 1, 1) / (2 * (kernel - 1)) + 1))
        depth = depth or max(1, min(_MOST_BLOCKS, needed))
        num_channels = sum(spec.shape[1] for spec in specs)
        self.blocks = nn.ModuleList(
            _Block(num_channels if place == 0 else width, width, kernel, 2**place, dropout) for place in range(depth)
        )
        self.pool = pool
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_series(spec)

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(h_BTD, keep_BT): each step's vector knows the steps before it."""
        x_BTC, keep_BT = stacked([scale(x_BTC) for scale, x_BTC in zip(self.scalers, inputs, strict=True)])
        h_BCT = x_BTC.transpose(1, 2)
        for block in self.blocks:
            h_BCT = block(h_BCT)
        return h_BCT.transpose(1, 2), keep_BT

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BTD, keep_BT = self.steps(inputs)
        return pooled(h_BTD, keep_BT, self.pool)


class _Block(nn.Module):
    """relu(x + twice (convolution with normed weights, relu, dropout of channels)): (B, C, T) -> (B, D, T)."""

    def __init__(self, num_channels: int, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.first = weight_norm(nn.Conv1d(num_channels, width, kernel, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(width, width, kernel, dilation=dilation))
        self.bridge = nn.Conv1d(num_channels, width, 1) if num_channels != width else None
        self.dropout = dropout

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        h_BCT = x_BCT
        for convolution in (self.first, self.second):
            h_BCT = functional.relu(convolution(functional.pad(h_BCT, (self.reach, 0))))
            if self.dropout and self.training:
                h_BCT = functional.dropout1d(h_BCT, self.dropout)
        return functional.relu(h_BCT + (x_BCT if self.bridge is None else self.bridge(x_BCT)))
