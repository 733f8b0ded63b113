"""Numbers and codes of a table together: every column is a token, self-attention reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_codes, is_numbers
from lode.model.columns import Columns, Tokens
from lode.model.modules import Encoder


class FtTransformer(Encoder):
    """FT-Transformer of Gorishniy 2021 (arXiv 2106.11959, section 3.3): pre-norm blocks with ReGLU over column tokens and one of its own.

    The paper's default is three blocks of width 192; the default here is smaller, because its cost grows with columns times width
    squared. What is read is the token of its own, so the last block computes no other.

    Args:
        width: Width of a token, and of the result.
        depth: Blocks.
        heads: Attention heads; they divide the width.
        hidden: Width inside a block's second half, in multiples of `width`.
        attention_dropout: Share of attention weights set to 0 in training.
        dropout: Share of the second half's inner outputs set to 0 in training.
        unknown: Share of codes replaced by 0 (unknown) in training, so that an unseen category at serving has a trained vector.
    """

    reads = ("number", "binary", "category", "date", "vector")
    fits = (("width", "multiple of", "heads"),)
    joint = True
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] = 64,
        depth: Annotated[int, Range(1, search=(1, 6))] = 3,
        heads: Annotated[int, Range(1)] = 4,
        hidden: Annotated[float, Range(0, open_low=True)] = 1.3333,
        attention_dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.2,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.01,
    ) -> None:
        super().__init__()
        self.columns = Columns(specs, unknown)
        self.tokens = Tokens(self.columns.num_numbers, self.columns.cardinalities, width)
        self.reader_D = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        inner = max(1, round(width * hidden))
        # The first block has no norm in front of its attention: the tokens are as the paper's ablation wants them
        self.blocks = nn.ModuleList(
            _Block(width, heads, inner, attention_dropout, dropout, norm=number > 0) for number in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return (is_numbers(spec) and len(spec.shape) <= 1) or is_codes(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BFD = self.tokens(*self.columns(inputs))
        h_BTD = torch.cat((self.reader_D.to(h_BFD.dtype).expand(h_BFD.shape[0], 1, -1), h_BFD), dim=1)
        for block in self.blocks[:-1]:
            h_BTD = block(h_BTD, h_BTD.shape[1])
        return functional.relu(self.norm(self.blocks[-1](h_BTD, 1)[:, 0]))


class _Block(nn.Module):
    """`queries`: how many of the first tokens are computed."""

    def __init__(self, width: int, heads: int, inner: int, attention_dropout: float, dropout: float, *, norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout, self.dropout = attention_dropout, dropout
        self.norm_attention = nn.LayerNorm(width) if norm else nn.Identity()
        self.norm_inner = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.grow = nn.Linear(width, 2 * inner)
        self.shrink = nn.Linear(inner, width)

    def forward(self, h_BTD: torch.Tensor, queries: int) -> torch.Tensor:
        normed_BTD = self.norm_attention(h_BTD)
        h_BQD = h_BTD[:, :queries] + self._attend(normed_BTD[:, :queries], normed_BTD)
        value_BQE, gate_BQE = self.grow(self.norm_inner(h_BQD)).chunk(2, dim=-1)
        inner_BQE = value_BQE * functional.relu(gate_BQE)
        if self.dropout and self.training:
            inner_BQE = functional.dropout(inner_BQE, self.dropout)
        return h_BQD + self.shrink(inner_BQE)

    def _attend(self, query_BQD: torch.Tensor, all_BTD: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = all_BTD.shape
        q_BHQE = self.query(query_BQD).view(rows, -1, self.heads, width // self.heads).transpose(1, 2)
        pair = self.key_value(all_BTD).view(rows, tokens, 2, self.heads, width // self.heads)
        k_BHTE, v_BHTE = pair.permute(2, 0, 3, 1, 4).unbind(0)
        share = self.attention_dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q_BHQE, k_BHTE, v_BHTE, dropout_p=share)
        return self.project(mixed.transpose(1, 2).reshape(rows, -1, width))
