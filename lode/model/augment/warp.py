"""Let the time of series run faster here and slower there."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.blocks import is_series
from lode.model.modules import Augment

_WAVES = 3


class Warp(Augment):
    """Reads each series at times that run smoothly faster and slower, from its first step to its last (Um 2017, arXiv 1706.00527).

    With u from 0 to 1 over the real steps, a step shows what stood at u + sum of a_k sin(pi k u) / (pi k), k = 1, 2, 3: its ends stay,
    and its speed, 1 + sum of a_k cos(pi k u), stays above 0.

    Args:
        amount: Largest change of speed: 0.3 draws speeds between 0.7 and 1.3.
    """

    reads = ("series",)
    moves_steps = True

    def __init__(self, spec: TensorSpec, *, amount: Annotated[float, Range(0, 1, open_high=True)] = 0.3) -> None:
        super().__init__()
        self.amount = amount

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_series(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        steps = x.shape[1]
        keep_BT = ~x[:, :, 0].isnan()
        last_B1 = (keep_BT.sum(dim=1, keepdim=True) - 1).clamp_min(0)
        u_BT = torch.arange(steps, device=x.device) / last_B1.clamp_min(1)
        wave_K = math.pi * torch.arange(1, _WAVES + 1, device=x.device)
        size_BK = (self.amount / _WAVES) * (2.0 * torch.rand(len(x), _WAVES, generator=generator, device=x.device) - 1.0)
        moved_BT = (torch.sin(u_BT[:, :, None] * wave_K) * (size_BK / wave_K)[:, None, :]).sum(dim=2)
        place_BT = ((u_BT + moved_BT) * last_B1).clamp_min(0.0).minimum(last_B1)
        low_BT = place_BT.floor().long().clamp_max(steps - 1)
        high_BT = torch.minimum(low_BT + 1, last_B1).clamp_max(steps - 1)
        shape = (-1, -1, x.shape[2])
        low, high = (x.gather(1, index_BT[:, :, None].expand(shape)) for index_BT in (low_BT, high_BT))
        warped = torch.lerp(low, high, (place_BT - low_BT)[:, :, None].to(x.dtype))
        return torch.where(keep_BT[:, :, None], warped, x)
