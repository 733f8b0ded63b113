"""Blend rows with other rows."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_codes, is_image, is_numbers
from lode.model.modules import Augment


class Mixup(Augment):
    """Weighted means of two rows of the batch, in pictures and numbers; the targets count likewise (Zhang 2018, arXiv 1710.09412).

    Codes have no mean: each is the own one with the probability of the own share. For a table, name it under every input.

    Args:
        strength: Both parameters of the beta distribution of the own share: 0.2 mostly blends a little, 1 draws every share alike.
    """

    reads = ("number", "binary", "category", "date", "image", "vector")
    mixes: ClassVar[bool] = True

    def __init__(self, spec: TensorSpec, *, strength: Annotated[float, Range(0, open_low=True)] = 0.2) -> None:
        super().__init__()
        self.strength = strength

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec) or is_numbers(spec) or is_codes(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.mix(x, torch.randperm(len(x), generator=generator, device=x.device), generator)[0]

    def mix(self, x: torch.Tensor, partner_B: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        share = torch._sample_dirichlet(torch.full((2,), self.strength, device=x.device), generator)[0]
        partner = x.index_select(0, partner_B)
        if x.dtype not in (torch.uint8, torch.float32):
            return torch.where(torch.rand(x.shape, generator=generator, device=x.device) < share, x, partner), share
        mixed = torch.lerp(partner.float(), x.float(), share)
        return mixed.add_(0.5).to(torch.uint8) if x.dtype == torch.uint8 else mixed, share
