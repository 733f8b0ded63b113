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

    reads = ("image",)

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
        rows, height, width, channels = x.shape
        move_2B = torch.randint(2 * self.border + 1, (2, rows), generator=generator, device=x.device)
        # Channels laid beside the columns: every place where the picture may be cut out is then a view, and one copy takes them all
        padded_BHK = self._padded(self._padded(x, 1), 2).flatten(2)
        places = padded_BHK.unfold(1, height, 1).unfold(2, width * channels, channels)
        return places[torch.arange(rows, device=x.device), move_2B[0], move_2B[1]].view_as(x)

    def _padded(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Pictures with a border on both sides of an axis."""
        size, border = x.shape[axis], self.border
        before, after = x.narrow(axis, 1, border).flip(axis), x.narrow(axis, size - 1 - border, border).flip(axis)
        if self.fill == "zeros":
            before, after = torch.zeros_like(before), torch.zeros_like(after)
        return torch.cat((before, x, after), dim=axis)
