"""Move recordings in time."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_waveform
from lode.model.modules import Augment


class Shift(Augment):
    """Moves each recording earlier or later by a random time; silence comes in, what goes out is lost.

    Args:
        share: Largest move, as a share of the length.
    """

    reads = ("audio",)

    def __init__(self, spec: TensorSpec, *, share: Annotated[float, Range(0, 1)] = 0.1) -> None:
        super().__init__()
        self.most = round(share * spec.shape[0])

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_waveform(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        length = x.shape[1]
        move_B1 = torch.randint(-self.most, self.most + 1, (len(x), 1), generator=generator, device=x.device)
        padded = torch.nn.functional.pad(x, (self.most, self.most))
        return padded.gather(1, torch.arange(self.most, self.most + length, device=x.device) + move_B1)
