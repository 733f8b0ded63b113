"""Slant pictures."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.affine import identity, warp
from lode.model.blocks import is_image
from lode.model.modules import Augment


class Shear(Augment):
    """Slants pictures sideways by a random angle; what comes in repeats the edge.

    Args:
        degrees: Largest angle, to either side. (Keras's shear_range is in degrees too: its 0.2 is hardly visible.)
    """

    reads = ("image",)
    affine: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, degrees: Annotated[float, Range(0, 89)] = 12.0) -> None:
        super().__init__()
        self.degrees = degrees
        self.ratio = spec.shape[0] / spec.shape[1]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return warp(x, self.matrix(len(x), x.device, generator))

    def matrix(self, rows: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        angle_B = math.radians(self.degrees) * (2.0 * torch.rand(rows, generator=generator, device=device) - 1.0)
        matrix_B23 = identity(rows, device)
        matrix_B23[:, 0, 1] = angle_B.tan() * self.ratio
        return matrix_B23
