"""Put a part of one picture into another."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Cutmix(Augment):
    """A rectangle of each picture shows another picture of the batch, and counts as such (Yun 2019, arXiv 1905.04899).

    Args:
        strength: Both parameters of the beta distribution of the own share: 1 draws every share alike, less rarely halves pictures.
    """

    reads = ("image",)
    mixes: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, strength: Annotated[float, Range(0, open_low=True)] = 1.0) -> None:
        super().__init__()
        self.strength = strength

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) > 1

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.mix(x, torch.randperm(len(x), generator=generator, device=x.device), generator)[0]

    def mix(self, x: torch.Tensor, partner_B: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows, height, width, channels = x.shape
        # Rectangles of one size for the whole batch, each wholly inside its picture, so that all rows have the same share
        own = torch._sample_dirichlet(torch.full((2,), self.strength, device=x.device), generator)[0]
        side = (1.0 - own).sqrt()
        high, wide = (side * height).round(), (side * width).round()
        place_2B = torch.rand(2, rows, generator=generator, device=x.device)
        inside_BH = _inside(place_2B[0], high, height)
        inside_BW = _inside(place_2B[1], wide, width)
        # Channels laid beside the columns: the mask has no inner axis of three then, which costs several times as much
        inside_BHK = inside_BH[:, :, None] & inside_BW.repeat_interleave(channels, dim=1)[:, None, :]
        mixed = torch.where(inside_BHK, x.index_select(0, partner_B).flatten(2), x.flatten(2)).view_as(x)
        return mixed, 1.0 - high * wide / (height * width)


def _inside(place_B: torch.Tensor, length: torch.Tensor, size: int) -> torch.Tensor:
    """Pixels, bool (B, size), of an axis that the rectangle of this length covers. place_B: where it starts, 0 to 1 of what is free."""
    start_B = (place_B * (size - length + 1.0)).floor()
    at_BS = torch.arange(size, device=place_B.device) - start_B[:, None]
    return (at_BS >= 0) & (at_BS < length)
