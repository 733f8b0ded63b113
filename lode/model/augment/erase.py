"""Cover a part of pictures."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Erase(Augment):
    """Covers a square at a random place with the average colour (cutout: DeVries 2017, arXiv 1708.04552). It may stick out.

    Args:
        size: Side of the square, as a share of the picture's shorter side.
        share: Share of pictures that lose a square.
    """

    reads = ("image",)
    fill: torch.Tensor

    def __init__(
        self,
        spec: TensorSpec,
        *,
        size: Annotated[float, Range(0, 1, open_low=True)] = 0.3,
        share: Annotated[float, Range(0, 1)] = 1.0,
    ) -> None:
        super().__init__()
        self.side = max(1, round(size * min(spec.shape[:2])))
        self.share = share
        average = torch.tensor(spec.offset or (0.0,) * spec.shape[2])
        self.register_buffer("fill", average.round() if spec.dtype == "uint8" else average, persistent=False)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows, height, width, channels = x.shape
        place_3B = torch.rand(3, rows, generator=generator, device=x.device)
        inside_BH = self._inside(place_3B[0], height) & (place_3B[2] < self.share)[:, None]
        inside_BW = self._inside(place_3B[1], width)
        # Channels laid beside the columns: the mask has no inner axis of three then, which costs several times as much
        inside_BHK = inside_BH[:, :, None] & inside_BW.repeat_interleave(channels, dim=1)[:, None, :]
        fill_K = self.fill.to(x.dtype).repeat(width)
        return torch.where(inside_BHK, fill_K, x.flatten(2)).view_as(x)

    def _inside(self, place_B: torch.Tensor, size: int) -> torch.Tensor:
        """Which pixels of an axis the square covers. place_B: its middle, 0 to 1."""
        start_B = (place_B * size).long() - self.side // 2
        at_BS = torch.arange(size, device=place_B.device) - start_B[:, None]
        return (at_BS >= 0) & (at_BS < self.side)
