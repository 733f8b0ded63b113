"""A text as the mean of the vectors of its words, and of its runs of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Encoder


class Pooled(Encoder):
    """The mean over the tokens' learned vectors; padding (code 0) does not count.

    Fast and hard to beat on short texts (Joulin 2016, fastText, arXiv 1607.01759). With grams, runs of neighbouring tokens have vectors
    too, in a table of fixed size that they share by hashing (Weinberger 2009, arXiv 0902.2206).

    Args:
        width: Width of a token's vector, and of the result.
        dropout: Share of tokens left out in training.
        grams: Runs of up to so many tokens have vectors: 1 none but the tokens', 3 suits texts of characters, 2 those of words.
        buckets: Size of the table of runs.
        scale: The sum of the vectors is divided by their number (mean), or by its root (sqrt), which keeps what stands out in long texts.
    """

    reads = ("text", "set")

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        width: Annotated[int, Range(1, search=(16, 128), log=True)] = 64,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.1,
        grams: Annotated[int, Range(1, 8)] = 1,
        buckets: Annotated[int, Range(2)] = 131_072,
        scale: Literal["mean", "sqrt"] = "mean",
    ) -> None:
        super().__init__()
        self.num_codes = specs[0].cardinality or 1
        size = self.num_codes + (buckets if grams > 1 else 0)
        self.table_VD = nn.Parameter(torch.randn(size, width) * (width**-0.5 if grams == 1 else 0.3 * width**-0.5))
        self.dropout, self.grams, self.buckets, self.scale = dropout, grams, buckets, scale
        self.width = width

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        codes_BR, real_BR = self._runs(inputs[0])
        keep_BR = real_BR.to(self.table_VD.dtype)
        if self.training and self.dropout:
            keep_BR = functional.dropout(keep_BR, self.dropout)
        total_B1 = keep_BR.sum(dim=1, keepdim=True).clamp_min(1e-6)
        weight_BR = keep_BR / (total_B1 if self.scale == "mean" else total_B1.sqrt())
        return functional.embedding_bag(codes_BR, self.table_VD, mode="sum", per_sample_weights=weight_BR)

    def _runs(self, tokens_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the table for tokens and runs (B, R), and which of them are real (B, R); a run ends at its text's end."""
        words_BT = tokens_BT != 0
        if self.grams == 1:
            return tokens_BT, words_BT
        codes, real = [tokens_BT.long()], [words_BT]
        hash_BT, run_BT = tokens_BT.long(), words_BT
        for length in range(2, min(self.grams, tokens_BT.shape[1]) + 1):
            # A polynomial in the codes, kept below 2^40: products stay below 2^63 and are the same on every device
            hash_BT = (hash_BT[:, :-1] * 1_000_003 + tokens_BT[:, length - 1 :].long() * 2_654_435_761) & 0xFF_FFFF_FFFF
            run_BT = run_BT[:, :-1] & words_BT[:, length - 1 :]
            codes.append(self.num_codes + (hash_BT ^ (hash_BT >> 17)) % self.buckets)
            real.append(run_BT)
        return torch.cat(codes, dim=1), torch.cat(real, dim=1)
