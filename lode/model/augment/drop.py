"""Leave words out of texts."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_tokens
from lode.model.modules import Augment


class Drop(Augment):
    """Takes random words out of a text; the others close up (Wei 2019, EDA, arXiv 1901.11196). A text keeps at least one word,
    its first if all were drawn.

    Args:
        share: Share of the words that is taken out.
    """

    reads = ("text", "set")
    moves_steps = True
    ahead: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, share: Annotated[float, Range(0, 1)] = 0.1) -> None:
        super().__init__()
        self.share = share

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_tokens(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        keep_BT = torch.rand(x.shape, generator=generator, device=x.device) >= self.share
        # Words that are left out all land in a place before the first, padding that is kept behind the last
        place_BT = keep_BT.cumsum(dim=1).mul_(keep_BT)
        left_BT = x.new_zeros(len(x), x.shape[1] + 1).scatter_(1, place_BT, x)[:, 1:]
        first_B = left_BT[:, 0]
        torch.where(first_B > 0, first_B, x[:, 0], out=first_B)
        return left_BT
