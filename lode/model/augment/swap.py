"""Exchange neighbouring words of texts."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment


class Swap(Augment):
    """Exchanges random words with their right neighbours (after Wei 2019, EDA, arXiv 1901.11196, where any two words change places).

    Args:
        share: Share of the words that is moved.
    """

    reads = ("text",)
    moves_steps = True
    ahead: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, share: Annotated[float, Range(0, 1)] = 0.1) -> None:
        super().__init__()
        self.share = share

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec) and spec.ordered

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows, steps = x.shape
        changed = x.clone()
        if steps < 2:
            return changed
        chosen_BP = torch.rand(rows, steps // 2, generator=generator, device=x.device) < self.share
        # Pairs begin at even places in every other row, else at odd ones, so that no two of them overlap
        for start in (0, 1):
            if steps - start < 2:  # every other text of two words stays: it has no pair at an odd place
                continue
            pairs = changed[start::2, start:].unfold(1, 2, 2)
            left, right = pairs[..., 0], pairs[..., 1]
            change = (left ^ right) * (chosen_BP[start::2, : left.shape[1]] & (right != 0))
            left ^= change
            right ^= change
        return changed
