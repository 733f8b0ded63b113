"""Pictures under an affine map, each under its own: what the augmentations shear and zoom share."""

from __future__ import annotations

import torch
from torch.nn import functional


def warp(x: torch.Tensor, matrix_B23: torch.Tensor) -> torch.Tensor:
    """Bilinear, edges repeated. x: (B, H, W, C) uint8 or float32; returns the same shape and dtype.

    matrix_B23: from a place in the result to the place in the picture that it shows, both in [-1, 1], as (x, y, 1).
    """
    x_BCHW = x.permute(0, 3, 1, 2).float()
    grid_BHW2 = functional.affine_grid(matrix_B23, list(x_BCHW.shape), align_corners=False)
    warped = functional.grid_sample(x_BCHW, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False)
    warped = warped.permute(0, 2, 3, 1)
    return warped.round_().clamp_(0, 255).to(torch.uint8) if x.dtype == torch.uint8 else warped.contiguous()


def identity(rows: int, device: torch.device) -> torch.Tensor:
    """float32 (rows, 2, 3) that leaves pictures as they are, to be changed in place."""
    matrix_B23 = torch.zeros(rows, 2, 3, device=device)
    matrix_B23[:, 0, 0] = 1.0
    matrix_B23[:, 1, 1] = 1.0
    return matrix_B23
