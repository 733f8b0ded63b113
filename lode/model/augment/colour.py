"""Change brightness, contrast and saturation."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_image
from lode.model.colour import factors, limits, recolour
from lode.model.modules import Augment
from lode.model.pieces import by_pieces, pixels, planes


class Colour(Augment):
    """Multiplies brightness, contrast and saturation of each picture by random factors; 0.2 draws between 0.8 and 1.2.

    Args:
        brightness: Largest change of brightness.
        contrast: Largest change of the distance of pixels from the picture's mean grey.
        saturation: Largest change of the distance of colours from grey; nothing happens to grey pictures.
    """

    reads = ("image",)

    def __init__(
        self,
        spec: TensorSpec,
        *,
        brightness: Annotated[float, Range(0, 1)] = 0.2,
        contrast: Annotated[float, Range(0, 1)] = 0.2,
        saturation: Annotated[float, Range(0, 1)] = 0.2,
    ) -> None:
        super().__init__()
        self.amounts = (brightness, contrast, saturation)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        brightness_B, contrast_B, saturation_B = (factors(len(x), amount, generator, x.device) for amount in self.amounts)
        bounds = limits(x)

        def change(piece: torch.Tensor, rows: slice) -> torch.Tensor:
            factor = {"brightness_B": brightness_B[rows], "contrast_B": contrast_B[rows], "saturation_B": saturation_B[rows]}
            return pixels(recolour(planes(piece), **factor).clamp_(*bounds), x.dtype)

        return by_pieces(change, x)
