"""Make pictures larger or smaller."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.affine import identity, warp
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Zoom(Augment):
    """Zooms in or out around the middle, by another factor in height and in width; what comes in repeats the edge.

    Args:
        amount: Largest change: 0.2 draws factors between 0.8 and 1.2.
    """

    reads = ("image",)
    affine: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, amount: Annotated[float, Range(0, 1, open_high=True)] = 0.2) -> None:
        super().__init__()
        self.amount = amount

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return warp(x, self.matrix(len(x), x.device, generator))

    def matrix(self, rows: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        factor_B2 = 1.0 + self.amount * (2.0 * torch.rand(rows, 2, generator=generator, device=device) - 1.0)
        matrix_B23 = identity(rows, device)
        matrix_B23[:, 0, 0] = factor_B2[:, 0]
        matrix_B23[:, 1, 1] = factor_B2[:, 1]
        return matrix_B23
