"""A text through convolutions over its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Encoder
from lode.model.recurrent import drop_codes, first_always, masked_max


class Textcnn(Encoder):
    """Word vectors, then convolutions over windows of several lengths, then each channel's maximum over the text.

    Kim 2014, Convolutional neural networks for sentence classification, arXiv 1408.5882.

    Args:
        embedding: Width of the words' vectors.
        channels: Channels of each window; the result has so many numbers for each window.
        windows: So many words next to each other are looked at.
        dropout: Share of the result set to 0 in training; word vectors lose 0.4 times that share.
        unknown: Share of words replaced by the unknown one in training.
    """

    reads = ("text",)
    fits = (("windows", "not empty", None),)
    gives_steps: ClassVar[bool] = True

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        embedding: Annotated[int, Range(1)] = 128,
        channels: Annotated[int, Range(1)] = 128,
        windows: list[Annotated[int, Range(1, 16)]] = (2, 3, 4),  # type: ignore[assignment]
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.5,
        unknown: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
    ) -> None:
        super().__init__()
        self.table_VD = nn.Parameter(torch.randn(specs[0].cardinality or 1, embedding) * 0.1)
        self.windows = tuple(windows)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, channels, window) for window in windows)
        self.dropout, self.unknown = dropout, unknown
        self.width = channels * len(windows)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec) and spec.ordered

    def steps(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What each window sees around each word (B, T, width), and where there are words (B, T)."""
        tokens_BT = inputs[0]
        keep_BT = tokens_BT != 0
        if self.training and self.unknown:
            tokens_BT = drop_codes(tokens_BT, self.unknown)
        h_BTD = functional.embedding(tokens_BT, self.table_VD) * keep_BT.unsqueeze(2)
        if self.training and self.dropout:
            h_BTD = functional.dropout(h_BTD, 0.4 * self.dropout)
        h_BDT = h_BTD.transpose(1, 2)
        seen = []
        for window, convolution in zip(self.windows, self.convolutions, strict=True):
            before = (window - 1) // 2
            seen.append(convolution(functional.pad(h_BDT, (before, window - 1 - before))))
        return functional.relu(torch.cat(seen, dim=1)).transpose(1, 2), first_always(keep_BT)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        h_BD = masked_max(*self.steps(inputs))
        return functional.dropout(h_BD, self.dropout) if self.training and self.dropout else h_BD
