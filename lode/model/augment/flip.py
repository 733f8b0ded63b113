"""Mirror pictures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch

from lode.core.types import Range, TensorSpec
from lode.model.affine import identity
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Flip(Augment):
    """Mirrors pictures at random, left to right or top to bottom.

    Args:
        direction: Which side goes where: horizontal, vertical, or both (each for itself).
        share: Share of pictures that is mirrored.
    """

    reads = ("image",)
    affine: ClassVar[bool] = True

    def __init__(
        self,
        spec: TensorSpec,
        *,
        direction: Literal["horizontal", "vertical", "both"] = "horizontal",
        share: Annotated[float, Range(0, 1)] = 0.5,
    ) -> None:
        super().__init__()
        self.axes = {"horizontal": (2,), "vertical": (1,), "both": (1, 2)}[direction]
        self.share = share

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        for axis in self.axes:
            chosen_B = torch.rand(len(x), generator=generator, device=x.device) < self.share
            x = torch.where(chosen_B[:, None, None, None], x.flip(axis), x)
        return x

    def matrix(self, rows: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        matrix_B23 = identity(rows, device)
        for axis in self.axes:
            chosen_B = torch.rand(rows, generator=generator, device=device) < self.share
            # Columns are the second axis of a picture and the first coordinate of a map
            matrix_B23[:, 2 - axis, 2 - axis] = 1.0 - 2.0 * chosen_B
        return matrix_B23
