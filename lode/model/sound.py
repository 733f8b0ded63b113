"""What the augmentations of recordings share."""

from __future__ import annotations

import torch


def as_samples(x_BL: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Floats as samples of `dtype`: rounded and clipped to 16 bits, or as they are for floats."""
    return x_BL.round_().clamp_(-32768, 32767).to(dtype) if dtype == torch.int16 else x_BL
