"""Numbers and codes of a table together, through residual layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_codes, is_numbers
from lode.model.columns import Columns
from lode.model.modules import Encoder


class ResnetMlp(Encoder):
    """The residual network for tables of Gorishniy 2021 (arXiv 2106.11959, section 3.2).

    A linear layer, then `depth` blocks x + dropout(linear(dropout(relu(linear(norm(x)))))), norm and relu. A code enters as a learned
    vector. The norm is that of a batch.

    Args:
        width: Width between the blocks, and of the result.
        depth: Blocks.
        hidden: Width inside a block, in multiples of `width`.
        dropout: Share of a block's inner outputs set to 0 in training.
        code_width: Width of a code's vector.
        unknown: Share of codes replaced by 0 (unknown) in training, so that an unseen category at serving has a trained vector.
    """

    reads = ("number", "binary", "category", "date", "vector")
    joint = True
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(48, 384), log=True)] = 192,
        depth: Annotated[int, Range(0, search=(1, 6))] = 3,
        hidden: Annotated[float, Range(0, open_low=True)] = 2.0,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.2,
        code_width: Annotated[int, Range(1)] = 8,
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.01,
    ) -> None:
        super().__init__()
        self.columns = Columns(specs, unknown)
        cards = self.columns.cardinalities
        self.table_KD = nn.Parameter(torch.randn(sum(cards), code_width) * code_width**-0.5) if cards else None
        self.register_buffer("starts", torch.tensor([0, *cards[:-1]] if cards else []).cumsum(0), persistent=False)
        self.enter = nn.Linear(self.columns.num_numbers + len(cards) * code_width, width)
        self.blocks = nn.ModuleList(_Block(width, max(1, round(width * hidden)), dropout) for _ in range(depth))
        self.norm = nn.BatchNorm1d(width)
        self.width = width

    starts: torch.Tensor

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return (is_numbers(spec) and len(spec.shape) <= 1) or is_codes(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        x_BF, codes_BG = self.columns(inputs)
        parts = [] if x_BF is None else [x_BF]
        if codes_BG is not None and self.table_KD is not None:
            parts.append(functional.embedding(codes_BG + self.starts, self.table_KD).flatten(1))
        h_BD = self.enter(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
        for block in self.blocks:
            h_BD = block(h_BD)
        return functional.relu(self.norm(h_BD))


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.grow = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        inner_BD = functional.relu(self.grow(self.norm(h_BD)))
        if self.dropout and self.training:
            inner_BD = functional.dropout(inner_BD, self.dropout)
        return h_BD + self.shrink(inner_BD)
