"""Pictures under an affine map, each under its own: what the augmentations rotate, shear and zoom share."""

from __future__ import annotations

import torch
from torch.nn import functional

from lode.model.pieces import by_pieces


def warp(x: torch.Tensor, matrix_B23: torch.Tensor) -> torch.Tensor:
    """Bilinear, edges repeated. x: (B, H, W, C) uint8 or float32; returns the same shape and dtype.

    matrix_B23: from a place in the result to the place in the picture that it shows, both in [-1, 1], as (x, y, 1).
    """
    return by_pieces(lambda piece, rows: _warped(piece, matrix_B23[rows]), x)


def _warped(x: torch.Tensor, matrix_B23: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[1:3]
    # Sums that are spread over rows and columns: several times faster than the product of matrices in torch's affine_grid
    x_W = (2.0 * torch.arange(width, device=x.device) + 1.0) / width - 1.0
    y_H = (2.0 * torch.arange(height, device=x.device) + 1.0) / height - 1.0
    grid_BHW2 = torch.empty(len(x), height, width, 2, device=x.device)
    for axis in (0, 1):
        along_BW = matrix_B23[:, axis, 0, None] * x_W + matrix_B23[:, axis, 2, None]
        down_BH = matrix_B23[:, axis, 1, None] * y_H
        torch.add(along_BW[:, None, :], down_BH[:, :, None], out=grid_BHW2[..., axis])
    x_BCHW = x.permute(0, 3, 1, 2).float()
    warped = functional.grid_sample(x_BCHW, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False)
    warped = warped.permute(0, 2, 3, 1)
    # A mean of values between 0 and 255 stays between them; adding a half rounds when the rest is cut off
    changed = warped.add_(0.5).to(torch.uint8) if x.dtype == torch.uint8 else warped
    return changed.contiguous()


def identity(rows: int, device: torch.device) -> torch.Tensor:
    """float32 (rows, 2, 3) that leaves pictures as they are, to be changed in place."""
    matrix_B23 = torch.zeros(rows, 2, 3, device=device)
    matrix_B23[:, 0, 0] = 1.0
    matrix_B23[:, 1, 1] = 1.0
    return matrix_B23


def chain(first_B23: torch.Tensor, second_B23: torch.Tensor) -> torch.Tensor:
    """One map that does what `first` and then `second` do to a picture. Maps lead from the result back to the picture."""
    linear_B22 = first_B23[:, :, :2] @ second_B23[:, :, :2]
    moved_B21 = first_B23[:, :, :2] @ second_B23[:, :, 2:] + first_B23[:, :, 2:]
    return torch.cat((linear_B22, moved_B21), dim=2)


def rotation(angle_B: torch.Tensor, ratio: float) -> torch.Tensor:
    """float32 (B, 2, 3) of turns by an angle in radians. ratio: height / width of the pictures, so that a turn slants nothing."""
    matrix_B23 = identity(len(angle_B), angle_B.device)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    matrix_B23[:, 0, 0], matrix_B23[:, 0, 1] = cos_B, -sin_B * ratio
    matrix_B23[:, 1, 0], matrix_B23[:, 1, 1] = sin_B / ratio, cos_B
    return matrix_B23
