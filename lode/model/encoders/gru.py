"""A text or a series, read step by step by gated recurrent units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_series, is_tokens
from lode.model.modules import Encoder
from lode.model.recurrent import Recurrent


class Gru(Encoder):
    """Word vectors (or a series' values) through gated recurrent units, forwards and backwards, pooled over the steps.

    Cho 2014, arXiv 1406.1078; two directions: Schuster and Paliwal 1997; pooling by maximum: Conneau 2017, arXiv 1705.02364.

    Args:
        embedding: Width of the words' vectors; a series is read as it is.
        width: Width of the state of each direction; the result has so many numbers for each direction.
        depth: Number of layers.
        directions: 2 reads forwards and backwards, 1 only forwards.
        pool: How the steps become one vector; last is each direction's state when it has read everything.
        dropout: Share of word vectors' numbers, of the numbers between layers and of the result's set to 0 in training.
        unknown: Share of words replaced by the unknown one in training.
    """

    reads = ("text", "series")
    gives_steps: ClassVar[bool] = True
    training_defaults: ClassVar[dict[str, Any]] = {"clip": 1.0}

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        embedding: Annotated[int, Range(1)] = 128,
        width: Annotated[int, Range(1, search=(32, 256), log=True)] = 128,
        depth: Annotated[int, Range(1, search=(1, 4))] = 1,
        directions: Annotated[int, Range(1, 2)] = 2,
        pool: Literal["last", "max", "mean"] = "max",
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.3,
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
    ) -> None:
        super().__init__()
        self.core = Recurrent(
            specs[0], "gru", embedding=embedding, width=width, depth=depth, directions=directions, dropout=dropout,
            unknown=unknown, pool=pool,
        )  # fmt: skip
        self.width = self.core.width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return spec.ordered and (is_tokens(spec) or is_series(spec))

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the steps (B, T, width) and which steps are real (B, T)."""
        return self.core.steps(inputs[0])

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.core(inputs[0])
