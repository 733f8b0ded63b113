"""A text through self-attention over its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Attention, is_tokens
from lode.model.modules import Encoder
from lode.model.recurrent import drop_codes, first_always, masked_mean


class Transformer(Encoder):
    """Word and position vectors, then pre-norm self-attention blocks, then the mean over the words or a reader's vector.

    Vaswani 2017, arXiv 1706.03762; norm before each block as in Xiong 2020, arXiv 2002.04745; the reader as in BERT, 1810.04805.

    Args:
        width: Width of the words' vectors, and of the result; a multiple of heads.
        depth: Number of blocks.
        heads: Attention heads of each block.
        dropout: Share of a block's outputs set to 0 in training.
        pool: mean over the words, or cls, a learned reader in front of them.
        unknown: Share of words replaced by the unknown one in training.
    """

    reads = ("text",)
    fits = (("width", "multiple of", "heads"),)
    gives_steps: ClassVar[bool] = True
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-4}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 128,
        depth: Annotated[int, Range(1, search=(1, 4))] = 2,
        heads: Annotated[int, Range(1)] = 4,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
        pool: Literal["mean", "cls"] = "mean",
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
    ) -> None:
        super().__init__()
        self.table_VD = nn.Parameter(torch.randn(specs[0].cardinality or 1, width) * 0.02)
        self.position_TD = nn.Parameter(torch.randn(specs[0].shape[0], width) * 0.02)
        self.reader_D = nn.Parameter(torch.randn(width) * 0.02) if pool == "cls" else None
        self.blocks = nn.ModuleList(Attention(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout
        self.unknown = unknown
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec) and spec.ordered

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the words (B, T, width) and where there are words (B, T); the reader's vector is left out."""
        h_BTD, keep_BT = self._read(inputs[0])
        return h_BTD if self.reader_D is None else h_BTD[:, 1:], keep_BT

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BTD, keep_BT = self._read(inputs[0])
        return masked_mean(h_BTD, keep_BT) if self.reader_D is None else h_BTD[:, 0]

    def _read(self, tokens_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last block's vectors, the reader's in front where there is one, and where there are words."""
        keep_BT = first_always(tokens_BT != 0)
        if self.training and self.unknown:
            tokens_BT = drop_codes(tokens_BT, self.unknown)
        h_BTD = functional.embedding(tokens_BT, self.table_VD) + self.position_TD[: tokens_BT.shape[1]]
        seen_BT = keep_BT
        if self.reader_D is not None:
            h_BTD = torch.cat((self.reader_D.expand(len(h_BTD), 1, -1), h_BTD), dim=1)
            seen_BT = functional.pad(keep_BT, (1, 0), value=True)
        if self.dropout and self.training:
            h_BTD = functional.dropout(h_BTD, self.dropout)
        for block in self.blocks:
            h_BTD = block(h_BTD, seen_BT[:, None, None, :])
        return self.norm(h_BTD), keep_BT
