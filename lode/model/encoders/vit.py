"""Pictures cut into patches, and attention between those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Attention, Standardize, is_image
from lode.model.modules import Encoder

_PATCHES_A_SIDE = 8
_LONGEST_WAVE = 10_000.0


class Vit(Encoder):
    """A vision transformer: Dosovitskiy 2021, arXiv 2010.11929, with the simplifications of Beyer 2022, arXiv 2205.01580.

    ViT-Ti/16 is `{width: 192, depth: 12, heads: 3, patch: 16}`. It knows nothing of neighbourhood: with fewer than some ten thousand
    pictures of your own, convolutions (resnet, convnext) learn more.

    Args:
        width: Width of a patch's vector; a multiple of 4 and of `heads`.
        depth: Attention blocks.
        heads: Attention heads.
        patch: Side of a patch, in pixels; left open, an eighth of the shorter side.
        positions: sincos (fixed waves of both coordinates) or learned.
        pool: mean of the patches, or a token of its own that reads them.
        dropout: Share of outputs set to 0 in training, after each half of a block.
    """

    reads = ("image",)
    fits = (("width", "multiple of", ("heads", 4)),)
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "warmup": 0.1, "clip": 1.0}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(4)] = 192,
        depth: Annotated[int, Range(1, search=(1, 12))] = 6,
        heads: Annotated[int, Range(1)] = 3,
        patch: Annotated[int, Range(1)] | None = None,
        positions: Literal["sincos", "learned"] = "sincos",
        pool: Literal["mean", "token"] = "mean",
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
    ) -> None:
        super().__init__()
        height, width_in, channels = specs[0].shape
        self.patch = patch or max(1, min(height, width_in) // _PATCHES_A_SIDE)
        rows, columns = -(-height // self.patch), -(-width_in // self.patch)
        # What the last patches lack is filled with the average colour, 0 after scaling
        self.border = (0, columns * self.patch - width_in, 0, rows * self.patch - height)
        self.scale = Standardize(specs[0])
        self.embed = nn.Conv2d(channels, width, self.patch, self.patch)
        self.token_D = nn.Parameter(torch.zeros(width)) if pool == "token" else None
        tokens = rows * columns + (pool == "token")
        if positions == "learned":
            self.position_TD = nn.Parameter(torch.randn(tokens, width) * 0.02)
        else:
            self.register_buffer("position_TD", _waves(rows, columns, width, tokens), persistent=False)
        self.blocks = nn.ModuleList(Attention(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.width = width
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) >= 4

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        # (B, H, W, C) in memory is what torch calls channels_last, so that this is free
        x_BCHW = self.scale(inputs[0]).permute(0, 3, 1, 2)
        if any(self.border):
            x_BCHW = functional.pad(x_BCHW, self.border)
        h_BTD = self.embed(x_BCHW).flatten(2).transpose(1, 2)
        if self.token_D is not None:
            h_BTD = torch.cat((self.token_D.to(h_BTD.dtype).expand(len(h_BTD), 1, -1), h_BTD), dim=1)
        h_BTD = h_BTD + self.position_TD
        for block in self.blocks:
            h_BTD = block(h_BTD)
        h_BTD = self.norm(h_BTD)
        return h_BTD[:, 0] if self.token_D is not None else h_BTD.mean(dim=1)


def _waves(rows: int, columns: int, width: int, tokens: int) -> torch.Tensor:
    """float32 (T, D): sine and cosine of both coordinates at falling frequencies; a token that is no patch gets zeros."""
    frequency_E = _LONGEST_WAVE ** -(torch.arange(width // 4) / max(1, width // 4 - 1))
    y_TE = torch.arange(rows).repeat_interleave(columns)[:, None] * frequency_E
    x_TE = torch.arange(columns).repeat(rows)[:, None] * frequency_E
    waves_TD = torch.cat((x_TE.sin(), x_TE.cos(), y_TE.sin(), y_TE.cos()), dim=1)
    return functional.pad(waves_TD, (0, 0, tokens - rows * columns, 0))
