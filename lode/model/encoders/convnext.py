"""Pictures through a convolutional network in the form of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ModelError
from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_image
from lode.model.modules import Encoder
from lode.model.residual import drop_path, rising

_DEEP = 18
"""Blocks of the paper's smallest network. From there on blocks begin as nothing, as in the paper; fewer would lose hundreds of steps by
that (MNIST, 900 pictures, 10 epochs, 2 + 2 blocks: accuracy 0.61 from a factor of 1e-6, 0.75 from 0.1, 0.84 from 1)."""


class Convnext(Encoder):
    """Large depthwise convolutions between narrow and wide linear layers (Liu 2022, arXiv 2201.03545).

    ConvNeXt-T is `{widths: [96, 192, 384, 768], depths: [3, 3, 9, 3], patch: 4}`.

    Args:
        widths: Channels of each stage; each stage but the first halves the size.
        depths: Blocks of each stage, as many entries as `widths`.
        patch: Side of the patches that the first layer takes, in pixels; left open, 1 below 32 pixels, 2 below 128, else 4.
        kernel: Side of the depthwise convolutions; an odd number.
        drop_path: Share of rows that skip the last block in training, falling to 0 towards the first.
        dropout: Share of the result set to 0 in training.
    """

    reads = ("image",)
    fits = (("depths", "as long as", "widths"), ("kernel", "odd", None))

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        widths: list[Annotated[int, Range(1)]] = (64, 128, 256),  # type: ignore[assignment]
        depths: list[Annotated[int, Range(1)]] = (2, 2, 4),  # type: ignore[assignment]
        patch: Annotated[int, Range(1)] | None = None,
        kernel: Annotated[int, Range(1)] = 7,
        drop_path: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
    ) -> None:
        super().__init__()
        side = min(specs[0].shape[:2])
        patch = patch or (1 if side < 32 else 2 if side < 128 else 4)
        if patch > side:
            raise ModelError(
                f"encoder convnext: found patch: {patch} for pictures of {side} pixels, allowed is at most {side}. Use a smaller patch."
            )
        self.scale = Standardize(specs[0])
        shares = iter(rising(drop_path, sum(depths)))
        first = 1.0 if sum(depths) < _DEEP else 1e-6
        self.depths = tuple(depths)
        # All blocks in one list, which activation checkpointing looks for
        self.joins, self.blocks = nn.ModuleList(), nn.ModuleList()
        size_in, side, stride = specs[0].shape[2], side // patch, patch
        for stage, (size, depth) in enumerate(zip(widths, depths, strict=True)):
            self.joins.append(_Join(size_in, size, stride, first=not stage))
            self.blocks.extend(_Block(size, kernel, next(shares), first) for _ in range(depth))
            size_in, stride, side = size, 2 if side >= 2 else 1, side // 2
        self.norm = nn.LayerNorm(size_in, eps=1e-6)
        self.dropout = dropout
        self.width = size_in

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) >= 8

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BHWD = self.scale(inputs[0])
        blocks = iter(self.blocks)
        for join, depth in zip(self.joins, self.depths, strict=True):
            h_BHWD = join(h_BHWD)
            for block in islice(blocks, depth):
                h_BHWD = block(h_BHWD)
        h_BD = self.norm(h_BHWD.mean(dim=(1, 2)))
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD


class _Join(nn.Module):
    """Patches to vectors at the start, and half the size between stages: (B, H, W, D_in) -> (B, H / stride, W / stride, D)."""

    def __init__(self, size_in: int, size: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.norm = nn.LayerNorm(size if first else size_in, eps=1e-6)
        self.convolution = _channels_last(nn.Conv2d(size_in, size, stride, stride))

    def forward(self, h_BHWD: torch.Tensor) -> torch.Tensor:
        if not self.first:
            h_BHWD = self.norm(h_BHWD)
        h_BHWD = self.convolution(h_BHWD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.norm(h_BHWD) if self.first else h_BHWD


class _Block(nn.Module):
    """Depthwise convolution, norm, four times as wide, gelu, back, times a learned factor, and the way around. (B, H, W, D)."""

    def __init__(self, size: int, kernel: int, share: float, first: float) -> None:
        super().__init__()
        self.spread = _channels_last(nn.Conv2d(size, size, kernel, padding=kernel // 2, groups=size))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.grow = nn.Linear(size, 4 * size)
        self.shrink = nn.Linear(4 * size, size)
        self.factor_D = nn.Parameter(torch.full((size,), first))
        self.share = share

    def forward(self, h_BHWD: torch.Tensor) -> torch.Tensor:
        inner = self.norm(self.spread(h_BHWD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        inner = self.shrink(functional.gelu(self.grow(inner))) * self.factor_D
        return h_BHWD + drop_path(inner, self.share, self.training)


def _channels_last(convolution: nn.Conv2d) -> nn.Module:
    """Its result is (B, H, W, D) in memory, so that the linear layers behind it copy nothing."""
    moved: nn.Module = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
