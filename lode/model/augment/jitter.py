"""Add noise to series."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_series
from lode.model.modules import Augment


class Jitter(Augment):
    """Adds normal noise to every step of a series (Um 2017, arXiv 1706.00527).

    Args:
        deviation: Standard deviation of the noise; scaled series have one of about 1 themselves.
    """

    reads = ("series",)

    def __init__(self, spec: TensorSpec, *, deviation: Annotated[float, Range(0)] = 0.05) -> None:
        super().__init__()
        self.deviation = deviation

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_series(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return x + self.deviation * torch.randn(x.shape, generator=generator, device=x.device)
