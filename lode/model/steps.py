"""Series and sets on the device: which steps are real, and what is left of many steps. Encoders of sequences share it.

Shape letters: B batch, T steps, C channels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


def real_steps(x_BTC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A series padded with NaN at its end: (float32 (B, T, C) with 0 for padding, bool (B, T) True where a step is real)."""
    keep_BT = ~x_BTC[:, :, 0].isnan()
    return torch.where(keep_BT[:, :, None], x_BTC, 0.0), keep_BT


def stacked(inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Several series of a row as the channels of one, as long as the longest: as `real_steps`."""
    parts = [real_steps(x_BTC) for x_BTC in inputs]
    if len(parts) == 1:
        return parts[0]
    steps = max(x_BTC.shape[1] for x_BTC in inputs)
    x_BTC = torch.cat([functional.pad(x, (0, 0, 0, steps - x.shape[1])) for x, _ in parts], dim=2)
    keep_BT = torch.stack([functional.pad(keep, (0, steps - keep.shape[1])) for _, keep in parts]).any(dim=0)
    return x_BTC, keep_BT


def pooled(h_BTD: torch.Tensor, keep_BT: torch.Tensor, how: str) -> torch.Tensor:
    """(B, D) of the real steps: their "mean", "sum", "max", or the "last" one; 0 where a row has none."""
    keep_BT1 = keep_BT.unsqueeze(2).to(h_BTD.dtype)
    if how == "max":
        low = torch.finfo(h_BTD.dtype).min
        highest_BD = h_BTD.masked_fill(~keep_BT[:, :, None], low).amax(dim=1)
        return highest_BD * keep_BT1.amax(dim=1)
    if how == "last":
        last_B11 = (keep_BT.sum(dim=1) - 1).clamp_min(0)[:, None, None]
        taken_BD = h_BTD.gather(1, last_B11.expand(-1, 1, h_BTD.shape[2])).squeeze(1)
        return taken_BD * keep_BT1.amax(dim=1)
    total_BD = (h_BTD * keep_BT1).sum(dim=1)
    return total_BD if how == "sum" else total_BD / keep_BT1.sum(dim=1).clamp_min(1.0)
