"""The objective of pretraining: every token is learned from those before it."""

from __future__ import annotations

import torch
from torch import nn

from lode.core.types import ColumnName
from lode.model.language.contracts import Objective, TokenBatch
from lode.model.language.loss import batch_loss


class NextToken(Objective):
    """Say which token comes next, at every position of a document (Radford 2018).

    Args:
        text: The column with the documents.
    """

    reads = "text"

    def __init__(self, *, text: ColumnName = "text") -> None:  # type: ignore[assignment]
        self.text = text

    def loss(self, decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
        """Mean negative log-likelihood of the learned tokens, float32 (), natural logarithm."""
        return batch_loss(decoder, batch)
