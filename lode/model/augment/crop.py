"""Shift pictures by a few pixels."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Crop(Augment):
    """Adds a border and cuts the original size out again at a random place.

    Args:
        border: Width of the border, in pixels.
        fill: What the border holds: the mirrored picture (reflect) or zeros.
    """

    def __init__(
        self,
        spec: TensorSpec,
        *,
        border: Annotated[int, Range(1)] = 4,
        fill: Literal["reflect", "zeros"] = "reflect",
    ) -> None:
        super().__init__()
        # Mirroring needs a pixel more than the border is wide
        self.border = min(border, min(spec.shape[:2]) - 1)
        self.fill = fill

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) and min(spec.shape[:2]) > 1

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows, height, width, _ = x.shape
        move_2B = torch.randint(-self.border, self.border + 1, (2, rows), generator=generator, device=x.device)
        y_BH, outside_BH = self._source(move_2B[0], height)
        x_BW, outside_BW = self._source(move_2B[1], width)
        row_B = torch.arange(rows, device=x.device)
        moved = x[row_B[:, None, None], y_BH[:, :, None], x_BW[:, None, :]]
        if self.fill == "zeros":
            moved = moved.masked_fill((outside_BH[:, :, None] | outside_BW[:, None, :])[..., None], 0)
        return moved

    def _source(self, move_B: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which pixel goes to each place, mirrored at the edges, and whether that place lies outside the picture."""
        place_BS = torch.arange(size, device=move_B.device) + move_B[:, None]
        outside_BS = (place_BS < 0) | (place_BS >= size)
        mirrored_BS = (size - 1) - ((size - 1) - place_BS.abs()).abs()
        return mirrored_BS, outside_BS
