"""Leave words out of texts."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment


class Drop(Augment):
    """Takes random words out of a text; the others close up (Wei 2019, EDA, arXiv 1901.11196). A text keeps at least one word.

    Args:
        share: Share of the words that is taken out.
    """

    def __init__(self, spec: TensorSpec, *, share: Annotated[float, Range(0, 1)] = 0.1) -> None:
        super().__init__()
        self.share = share

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        draw_BT = torch.rand(x.shape, generator=generator, device=x.device).masked_fill_(x == 0, -1.0)
        # The word with the largest draw stays in any case
        keep_BT = (draw_BT >= self.share) | ((draw_BT == draw_BT.amax(dim=1, keepdim=True)) & (x != 0))
        place_BT = torch.where(keep_BT, keep_BT.cumsum(dim=1) - 1, x.shape[1])
        return functional.pad(torch.zeros_like(x), (0, 1)).scatter_(1, place_BT, x)[:, :-1]
