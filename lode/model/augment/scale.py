"""Stretch the values of series."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_series
from lode.model.modules import Augment


class Scale(Augment):
    """Multiplies each channel of each series by a random factor around 1 (Um 2017, arXiv 1706.00527).

    Args:
        deviation: Standard deviation of the factors.
    """

    reads = ("series",)

    def __init__(self, spec: TensorSpec, *, deviation: Annotated[float, Range(0)] = 0.1) -> None:
        super().__init__()
        self.deviation = deviation

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_series(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        factor_B1C = 1.0 + self.deviation * torch.randn(len(x), 1, x.shape[2], generator=generator, device=x.device)
        return x * factor_B1C
