"""Codes of categories to learned vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_codes
from lode.model.columns import Ones, cardinalities, forget
from lode.model.modules import Encoder


class Embedding(Encoder):
    """One learned vector per category, joined over the columns (Guo and Berkhahn 2016, arXiv 1604.06737).

    Columns of equal width share one table with offsets, so a step is a few gathers however many columns there are.

    Args:
        width: Width of every column's vectors; left open, min(50, 1.6 * K^0.56) of its K codes (the fastai rule).
        dropout: Share of outputs set to 0 in training.
        one_hot: Columns with at most so many categories become ones and zeros instead, one number for each category.
        unknown: Share of codes replaced by 0 (unknown) in training, so that an unseen category at serving has a trained vector.
    """

    reads = ("category",)
    joint = True

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1)] | None = None,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.0,
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.01,
        one_hot: Annotated[int, Range(0)] = 0,
    ) -> None:
        super().__init__()
        cards = cardinalities(specs)
        # Code 0 is no category
        small = [column for column, card in enumerate(cards) if card - 1 <= one_hot]
        self.ones = Ones([card if column in small else 1 for column, card in enumerate(cards)]) if small else None
        widths = [0 if column in small else width or _width(card) for column, card in enumerate(cards)]
        self.tables = nn.ParameterList()
        for index, group in enumerate(sorted(set(widths) - {0})):
            columns = [column for column, own in enumerate(widths) if own == group]
            starts = torch.tensor([0, *(cards[column] for column in columns[:-1])]).cumsum(0)
            self.register_buffer(f"columns_{index}", torch.tensor(columns), persistent=False)
            self.register_buffer(f"starts_{index}", starts, persistent=False)
            self.tables.append(nn.Parameter(torch.randn(sum(cards[column] for column in columns), group) * group**-0.5))
        self.dropout = dropout
        self.unknown = unknown
        self.width = sum(widths) + (self.ones.width if self.ones is not None else 0)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_codes(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        codes_BF = torch.cat([x.reshape(x.shape[0], -1) for x in inputs], dim=1) if len(inputs) > 1 else inputs[0]
        codes_BF = codes_BF.reshape(codes_BF.shape[0], -1).long()
        if self.training:
            codes_BF = forget(codes_BF, self.unknown)
        parts = [] if self.ones is None else [self.ones(codes_BF)]
        for index, table in enumerate(self.tables):
            columns, starts = self.get_buffer(f"columns_{index}"), self.get_buffer(f"starts_{index}")
            parts.append(functional.embedding(codes_BF[:, columns] + starts, table).flatten(1))
        h_BD = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return functional.dropout(h_BD, self.dropout) if self.dropout and self.training else h_BD


def _width(cardinality: int) -> int:
    """The rule of thumb for a column's vector, rounded up to a multiple of 4 above 4 (few tables, aligned rows)."""
    width = min(50, max(1, round(1.6 * cardinality**0.56)))
    return width if width <= 4 else -(-width // 4) * 4
