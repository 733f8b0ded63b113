"""Add noise to numbers and to recordings."""

from __future__ import annotations

from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_image, is_numbers, is_waveform
from lode.model.modules import Augment
from lode.model.sound import as_samples


class Noise(Augment):
    """Adds normal noise to numbers, so that no split of a table is learnt to the last digit, or to recordings.

    Args:
        deviation: Standard deviation of the noise; numbers that are scaled have a standard deviation of about 1 themselves. For a
            recording it is the most that is drawn, as a share of the recording's own root mean square (0.05 is 26 dB below it).
    """

    reads = ("number", "binary", "category", "date", "audio", "vector")
    spread: torch.Tensor

    def __init__(self, spec: TensorSpec, *, deviation: Annotated[float, Range(0, open_low=True)] = 0.05) -> None:
        super().__init__()
        self.is_sound = is_waveform(spec)
        self.deviation = deviation
        self.register_buffer("spread", deviation / torch.tensor(spec.scale or (1.0,)), persistent=False)

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_waveform(spec) or (is_numbers(spec) and not is_image(spec))

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        if not self.is_sound:
            return torch.addcmul(x, noise, self.spread)
        most_B1 = self.deviation * torch.rand(len(x), 1, generator=generator, device=x.device)
        loudness_B1 = x.float().square().mean(dim=1, keepdim=True).sqrt()
        return as_samples(x + noise * (most_B1 * loudness_B1), x.dtype)
