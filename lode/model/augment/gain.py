"""Make recordings louder or quieter."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_waveform
from lode.model.modules import Augment
from lode.model.sound import as_samples


class Gain(Augment):
    """Makes each recording louder or quieter by a random number of decibels; what would be too loud is clipped.

    Encoders that make every recording equally loud (`normalize: recording`) see nothing of it but the clipping.

    Args:
        decibels: Largest change, to either side.
    """

    reads = ("audio",)

    def __init__(self, spec: TensorSpec, *, decibels: Annotated[float, Range(0, 60)] = 6.0) -> None:
        super().__init__()
        self.decibels = decibels

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_waveform(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        change_B1 = self.decibels * (2.0 * torch.rand(len(x), 1, generator=generator, device=x.device) - 1.0)
        return as_samples(x * 10.0 ** (change_B1 / 20.0), x.dtype)
