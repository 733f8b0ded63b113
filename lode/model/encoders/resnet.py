"""Pictures through a residual network of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_image
from lode.model.modules import Encoder
from lode.model.residual import drop_path as skipped
from lode.model.residual import rising


class Resnet(Encoder):
    """Residual blocks of two convolutions with batch norm, the width doubling and the size halving from stage to stage.

    He 2016, arXiv 1512.03385, in its form for small pictures; larger ones are first brought down to about 32 pixels by strides.
    ResNet-18 is `{stem: imagenet, width: 64, depth: 2}`; ResNet-34 has `depth: [3, 4, 6, 3]`.

    Args:
        width: Channels of the first stage.
        stages: Number of stages.
        depth: Residual blocks in each stage, one number or one for each.
        stem: auto (one convolution, its stride by the size) or imagenet (7 x 7, stride 2, then pooling; for 100 pixels and more).
        block: basic, or preactivation: norm and relu before each convolution (He 2016, arXiv 1603.05027); better where deep.
        drop_path: Share of rows that skip the last block in training, falling to 0 towards the first.
        average_flips: Outside training, average the vectors of a picture and its mirror image: better, at twice the cost.
        dropout: Share of the result set to 0 in training.
    """

    reads = ("image",)
    fits = (("depth", "as long as", "stages"),)

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(8, 64), log=True)] = 32,
        stages: Annotated[int, Range(1)] = 4,
        depth: Annotated[int, Range(1)] | list[Annotated[int, Range(1)]] = 1,
        stem: Literal["auto", "imagenet"] = "auto",
        block: Literal["basic", "preactivation"] = "basic",
        drop_path: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        average_flips: bool = False,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
    ) -> None:
        super().__init__()
        height, width_in, channels = specs[0].shape
        self.scale = Standardize(specs[0])
        stride = max(1, min(height, width_in) // 40)
        kernel, stride = (7, 2) if stem == "imagenet" else (2 * stride + 1, stride)
        self.pool = stem == "imagenet"
        self.stem = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        sizes = [width * 2**stage for stage in range(stages)]
        depths = [depth] * stages if isinstance(depth, int) else list(depth)
        shares = iter(rising(drop_path, sum(depths)))
        make, blocks, size_in = _Preactivation if block == "preactivation" else _Block, [], width
        for stage, (size, number) in enumerate(zip(sizes, depths, strict=True)):
            for place in range(number):
                blocks.append(make(size_in, size, stride=2 if stage and not place else 1, share=next(shares)))
                size_in = size
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.BatchNorm2d(size_in) if block == "preactivation" else None
        self.average_flips = average_flips
        self.dropout = dropout
        self.width = size_in
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) >= 8

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        # (B, H, W, C) in memory is what torch calls channels_last, so that this is free
        x_BCHW = self.scale(inputs[0]).permute(0, 3, 1, 2)
        h_BD = self._encode(x_BCHW)
        if self.average_flips and not self.training:
            h_BD = (h_BD + self._encode(x_BCHW.flip(3))) / 2
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD

    def _encode(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        h_BCHW = functional.relu(self.norm(self.stem(x_BCHW)), inplace=True)
        if self.pool:
            h_BCHW = functional.max_pool2d(h_BCHW, 3, 2, 1)
        for block in self.blocks:
            h_BCHW = block(h_BCHW)
        if self.last is not None:
            h_BCHW = functional.relu(self.last(h_BCHW), inplace=True)
        return h_BCHW.mean(dim=(2, 3))


class _Block(nn.Module):
    """Two convolutions and a way around them; the way around pools and widens where the size changes (He 2019, 1812.01187)."""

    def __init__(self, size_in: int, size: int, *, stride: int, share: float) -> None:
        super().__init__()
        self.stride = stride
        self.share = share
        self.first = nn.Conv2d(size_in, size, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(size, size, 3, 1, 1, bias=False)
        last = nn.BatchNorm2d(size)
        self.norms = nn.ModuleList((nn.BatchNorm2d(size), last))
        self.around = nn.Conv2d(size_in, size, 1, bias=False) if size_in != size else None
        # A block starts as the identity: its last norm multiplies by 0 (Goyal 2017, arXiv 1706.02677)
        nn.init.zeros_(last.weight)

    def forward(self, h_BCHW: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.norms[0](self.first(h_BCHW)), inplace=True)
        inner = skipped(self.norms[1](self.second(inner)), self.share, self.training)
        return functional.relu(_around(h_BCHW, self.stride, self.around) + inner, inplace=True)


class _Preactivation(nn.Module):
    """The same with norm and relu before the convolutions, so that the way around changes nothing."""

    def __init__(self, size_in: int, size: int, *, stride: int, share: float) -> None:
        super().__init__()
        self.stride = stride
        self.share = share
        self.first = nn.Conv2d(size_in, size, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(size, size, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList((nn.BatchNorm2d(size_in), nn.BatchNorm2d(size)))
        self.around = nn.Conv2d(size_in, size, 1, bias=False) if size_in != size else None

    def forward(self, h_BCHW: torch.Tensor) -> torch.Tensor:
        inner = self.first(functional.relu(self.norms[0](h_BCHW)))
        inner = self.second(functional.relu(self.norms[1](inner), inplace=True))
        return _around(h_BCHW, self.stride, self.around) + skipped(inner, self.share, self.training)


def _around(h_BCHW: torch.Tensor, stride: int, widen: nn.Module | None) -> torch.Tensor:
    if stride > 1:
        h_BCHW = functional.avg_pool2d(h_BCHW, stride, ceil_mode=True)
    return h_BCHW if widen is None else widen(h_BCHW)
