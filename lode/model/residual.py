"""What encoders with ways around their blocks share."""

from __future__ import annotations

import torch


def drop_path(h: torch.Tensor, share: float, training: bool) -> torch.Tensor:
    """Stochastic depth (Huang 2016, arXiv 1603.09382): in training, a block's result (B, ...) is left out for a share of the rows."""
    if not training or not share:
        return h
    keep_B = torch.rand(len(h), device=h.device) >= share
    return h * (keep_B.to(h.dtype) / (1.0 - share)).view(-1, *[1] * (h.ndim - 1))


def rising(share: float, blocks: int) -> list[float]:
    """The share of each block: from 0 for the first one to `share` for the last."""
    return [share * block / max(1, blocks - 1) for block in range(blocks)]
