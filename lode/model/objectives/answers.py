"""The objective of instruction tuning: only the answers of a conversation are learned."""

from __future__ import annotations

import torch
from torch import nn

from lode.core.errors import SpecError
from lode.core.types import ColumnName
from lode.model.language.contracts import Objective, TokenBatch
from lode.model.language.loss import batch_loss


class Answers(Objective):
    """Give the answers of conversations (Ouyang 2022, arXiv 2203.02155, step 1): questions are read, answers and their end are learned.

    Either a column with an answer beside those that make its prompt, or one column with whole conversations. Conversations are packed like
    documents, and none sees another.

    Args:
        prompt: The column with the question, or a list of columns, joined by line ends; empty cells are left out.
        answer: The column with the answer.
        messages: A column with conversations instead: a list of {role, content}, as JSON or as it stands in Parquet and JSON lines.
        system: What stands before every conversation that has no system message of its own; left open, nothing.
    """

    reads = "chat"

    def __init__(
        self,
        *,
        prompt: ColumnName | list[ColumnName] | None = None,
        answer: ColumnName | None = None,
        messages: ColumnName | None = None,
        system: str | None = None,
    ) -> None:
        if (messages is None) == (prompt is None) or (answer is None) != (prompt is None):
            raise SpecError(
                "objective answers: found neither or both of prompt with answer, and messages, allowed is one of them. "
                "Name columns: {type: answers, prompt: [instruction], answer: output}, or {type: answers, messages: COLUMN}."
            )
        self.prompt, self.answer, self.messages, self.system = prompt, answer, messages, system

    def loss(self, decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
        """Mean negative log-likelihood of the answers' tokens, float32 (), natural logarithm."""
        return batch_loss(decoder, batch)
