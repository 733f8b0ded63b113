"""A text as the mean of its words' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Encoder


class Pooled(Encoder):
    """The mean over the tokens' learned vectors; unknown tokens and padding (code 0) do not count.

    Fast and hard to beat on short texts (Joulin 2016, fastText, arXiv 1607.01759).

    Args:
        width: Width of a token's vector, and of the result.
        dropout: Share of tokens left out in training.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 64,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
    ) -> None:
        super().__init__()
        self.table_VD = nn.Parameter(torch.randn(specs[0].cardinality or 1, width) * width**-0.5)
        self.dropout = dropout
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        tokens_BT = inputs[0]
        keep_BT = (tokens_BT != 0).to(self.table_VD.dtype)
        if self.training and self.dropout:
            keep_BT = functional.dropout(keep_BT, self.dropout)
        weight_BT = keep_BT / keep_BT.sum(dim=1, keepdim=True).clamp_min(1e-6)
        return functional.embedding_bag(tokens_BT, self.table_VD, mode="sum", per_sample_weights=weight_BT)
