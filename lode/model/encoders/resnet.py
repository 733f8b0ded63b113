"""Pictures through a residual network of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_image
from lode.model.modules import Encoder


class Resnet(Encoder):
    """Residual blocks of two convolutions with batch norm, the width doubling and the size halving from stage to stage.

    He 2016, arXiv 1512.03385, in its form for small pictures; larger ones are first brought down to about 32 pixels by strides.

    Args:
        width: Channels of the first stage.
        stages: Number of stages.
        depth: Residual blocks in each stage.
        dropout: Share of the result set to 0 in training.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 32,
        stages: Annotated[int, Range(1)] = 4,
        depth: Annotated[int, Range(1)] = 1,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
    ) -> None:
        super().__init__()
        height, width_in, channels = specs[0].shape
        self.scale = Standardize(specs[0])
        stride = max(1, min(height, width_in) // 40)
        self.stem = nn.Conv2d(channels, width, 2 * stride + 1, stride, stride, bias=False)
        self.norm = nn.BatchNorm2d(width)
        sizes = [width * 2**stage for stage in range(stages)]
        blocks, size_in = [], width
        for stage, size in enumerate(sizes):
            for number in range(depth):
                blocks.append(_Block(size_in, size, stride=2 if stage and not number else 1))
                size_in = size
        self.blocks = nn.ModuleList(blocks)
        self.dropout = dropout
        self.width = size_in
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) >= 8

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        # (B, H, W, C) in memory is what torch calls channels_last, so that this is free
        h_BCHW = functional.relu(self.norm(self.stem(self.scale(inputs[0]).permute(0, 3, 1, 2))), inplace=True)
        for block in self.blocks:
            h_BCHW = block(h_BCHW)
        h_BD = h_BCHW.mean(dim=(2, 3))
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD


class _Block(nn.Module):
    """Two convolutions and a way around them; the way around pools and widens where the size changes (He 2019, 1812.01187)."""

    def __init__(self, size_in: int, size: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(size_in, size, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(size, size, 3, 1, 1, bias=False)
        last = nn.BatchNorm2d(size)
        self.norms = nn.ModuleList((nn.BatchNorm2d(size), last))
        self.around = nn.Conv2d(size_in, size, 1, bias=False) if size_in != size else None
        # A block starts as the identity: its last norm multiplies by 0 (Goyal 2017, arXiv 1706.02677)
        nn.init.zeros_(last.weight)

    def forward(self, h_BCHW: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.norms[0](self.first(h_BCHW)), inplace=True)
        inner = self.norms[1](self.second(inner))
        if self.stride > 1:
            h_BCHW = functional.avg_pool2d(h_BCHW, self.stride, ceil_mode=True)
        if self.around is not None:
            h_BCHW = self.around(h_BCHW)
        return functional.relu(h_BCHW + inner, inplace=True)
