"""Exchange neighbouring words of texts."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment


class Swap(Augment):
    """Exchanges random words with their right neighbours (after Wei 2019, EDA, arXiv 1901.11196, where any two words change places).

    Args:
        share: Share of the words that is moved.
    """

    def __init__(self, spec: TensorSpec, *, share: Annotated[float, Range(0, 1)] = 0.1) -> None:
        super().__init__()
        self.share = share

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec) and spec.ordered

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows, steps = x.shape
        if steps < 2:
            return x.clone()
        # Pairs begin at even places in some rows, at odd ones in others, so that no two of them overlap
        odd_B1 = torch.randint(2, (rows, 1), generator=generator, device=x.device)
        place_T = torch.arange(steps, device=x.device)
        chosen_BT = torch.rand(x.shape, generator=generator, device=x.device) < self.share
        words_BT = (x != 0) & (x.roll(-1, dims=1) != 0) & (place_T < steps - 1)
        first_BT = (chosen_BT & words_BT & ((place_T + odd_B1) % 2 == 0)).to(torch.int64)
        return x.gather(1, place_T + first_BT - first_BT.roll(1, dims=1))
