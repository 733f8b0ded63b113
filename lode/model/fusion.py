"""Several vectors per row, one from each encoder, into one. Shape letters: B batch, T encoders, D width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lode.model.blocks import Attention


class Concat(nn.Module):
    """Side by side: T times (B, D_t) -> (B, sum of D_t)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.width = sum(widths)

    def forward(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=1)


class Attend(nn.Module):
    """Each vector becomes a token of equal width; a learned token reads them by self-attention: T times (B, D_t) -> (B, D)."""

    num_heads = 4

    def __init__(self, widths: Sequence[int], width: int, *, dropout: float) -> None:
        super().__init__()
        self.width = -(-width // self.num_heads) * self.num_heads
        self.project = nn.ModuleList(nn.Linear(size, self.width) for size in widths)
        self.reader_D = nn.Parameter(torch.randn(self.width) * self.width**-0.5)
        self.block = Attention(self.width, self.num_heads, dropout=dropout)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        tokens = [linear(part) for linear, part in zip(self.project, parts, strict=True)]
        reader_BD = self.reader_D.to(tokens[0].dtype).expand(tokens[0].shape[0], -1)
        h_BTD = self.block(torch.stack((reader_BD, *tokens), dim=1))
        return self.norm(h_BTD[:, 0])
