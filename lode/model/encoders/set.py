"""Sets: the same layers for each element, then one vector of all, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Mlp, Standardize, is_set, is_tokens
from lode.model.modules import Encoder
from lode.model.steps import pooled, real_steps


class Set(Encoder):
    """Deep Sets (Zaheer 2017, arXiv 1703.06114): layers on every element, a sum, mean or maximum over them, and one more layer.

    Attention pooling is that of the Set Transformer with one seed (Lee 2019, arXiv 1810.00825). A text may come too: a bag of words.

    Args:
        width: Width of the elements' vectors, and of the result.
        depth: Layers on every element, behind its embedding.
        pool: sum lets the number of elements count, mean does not; max; or attention, a mean with learned weights.
        dropout: Share of elements left out in training.
    """

    reads = ("text", "set")

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(16, 128), log=True)] = 64,
        depth: Annotated[int, Range(0, search=(1, 4))] = 1,
        pool: Literal["mean", "sum", "max", "attention"] = "mean",
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
    ) -> None:
        super().__init__()
        spec = specs[0]
        self.scale = Standardize(spec)
        self.table_VD = nn.Parameter(torch.randn(spec.cardinality, width) * width**-0.5) if spec.cardinality else None
        self.embed = None if spec.cardinality else nn.Linear(spec.shape[1], width)
        self.layers = Mlp(width, [width] * depth, dropout=0.0, norm="none", activation="relu")
        self.seed_D = nn.Parameter(torch.randn(width) * width**-0.5) if pool == "attention" else None
        self.out = nn.Linear(width, width)
        self.pool, self.dropout, self.width = pool, dropout, width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_set(spec) or is_tokens(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.table_VD is not None:
            keep_BS = inputs[0] != 0
            h_BSD = functional.embedding(inputs[0], self.table_VD)
        else:
            assert self.embed is not None
            x_BSK, keep_BS = real_steps(self.scale(inputs[0]))
            h_BSD = self.embed(x_BSK)
        if self.training and self.dropout:
            keep_BS = keep_BS & (torch.rand(keep_BS.shape, device=keep_BS.device) >= self.dropout)
        h_BSD = self.layers(h_BSD)
        return functional.relu(self.out(self._pooled(h_BSD, keep_BS)))

    def _pooled(self, h_BSD: torch.Tensor, keep_BS: torch.Tensor) -> torch.Tensor:
        if self.seed_D is None:
            return pooled(h_BSD, keep_BS, self.pool)
        score_BS = torch.matmul(h_BSD, self.seed_D).float() * self.width**-0.5
        weight_BS = score_BS.masked_fill(~keep_BS, torch.finfo(torch.float32).min).softmax(dim=1) * keep_BS
        return torch.matmul(weight_BS.to(h_BSD.dtype).unsqueeze(1), h_BSD).squeeze(1)
