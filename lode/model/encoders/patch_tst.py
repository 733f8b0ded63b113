"""Series cut into patches, through self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Attention, Standardize, is_series
from lode.model.modules import Encoder
from lode.model.steps import pooled, stacked


class PatchTst(Encoder):
    """Each channel cut into patches that overlap; the same self-attention over the patches of every channel; then their mean.

    Nie 2022, arXiv 2211.14730: patches, and channels that share weights and do not look at one another. The blocks norm before, not
    after. Series that name the same encoder with the same options are the channels of one.

    Args:
        patch: Steps of a patch; shorter series have one patch.
        stride: Steps between the starts of two patches; left open, half a patch.
        width: Width of the patches' vectors; the result has as much per channel. A multiple of heads.
        depth: Number of blocks.
        heads: Attention heads of each block.
        dropout: Share of a block's outputs set to 0 in training.
    """

    reads = ("series",)
    fits = (("width", "multiple of", "heads"), ("stride", "at most", "patch"))
    joint = True
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-4}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        patch: Annotated[int, Range(1)] = 16,
        stride: Annotated[int, Range(1)] | None = None,
        width: Annotated[int, Range(1)] = 64,
        depth: Annotated[int, Range(1, search=(1, 6))] = 3,
        heads: Annotated[int, Range(1)] = 4,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
    ) -> None:
        super().__init__()
        longest = max(spec.shape[0] for spec in specs)
        self.patch = min(patch, longest)
        self.stride = min(stride or max(1, patch // 2), self.patch)
        self.scalers = nn.ModuleList(Standardize(spec) for spec in specs)
        self.embed = nn.Linear(self.patch, width)
        self.position_PD = nn.Parameter(torch.randn(self._num_patches(longest), width) * 0.02)
        self.blocks = nn.ModuleList(Attention(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout
        self.width = width * sum(spec.shape[1] for spec in specs)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_series(spec)

    def _num_patches(self, steps: int) -> int:
        return 1 + -(-max(steps - self.patch, 0) // self.stride)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        x_BTC, keep_BT = stacked([scale(x_BTC) for scale, x_BTC in zip(self.scalers, inputs, strict=True)])
        batch, steps, channels = x_BTC.shape
        patches = self._num_patches(steps)
        lacking = (patches - 1) * self.stride + self.patch - steps
        x_BCT = functional.pad(x_BTC.transpose(1, 2), (0, lacking))
        x_NPS = x_BCT.unfold(2, self.patch, self.stride).reshape(batch * channels, patches, self.patch)
        # A row has as many patches as if it stood alone: each brings a step that the one before lacks. Without any, it gives zeros
        new = [0, *((place - 1) * self.stride + self.patch for place in range(1, patches))]
        real_BP = keep_BT[:, new]
        seen_BP = real_BP.clone()
        seen_BP[:, 0] = True
        real_NP, seen_NP = (mask_BP.repeat_interleave(channels, dim=0) for mask_BP in (real_BP, seen_BP))
        h_NPD = self.embed(x_NPS) + self.position_PD[:patches]
        if self.dropout and self.training:
            h_NPD = functional.dropout(h_NPD, self.dropout)
        for block in self.blocks:
            h_NPD = block(h_NPD, seen_NP[:, None, None, :])
        return pooled(self.norm(h_NPD), real_NP, "mean").reshape(batch, self.width)
