"""Pictures under an affine map, each under its own: what the augmentations rotate, shear and zoom share."""

from __future__ import annotations

import torch
from torch.nn import functional

from lode.model.pieces import by_pieces, pixels


def warp(x: torch.Tensor, matrix_B23: torch.Tensor) -> torch.Tensor:
    """Bilinear, edges repeated. x: (B, H, W, C) uint8 or float32; returns the same shape and dtype.

    matrix_B23: from a place in the result to the place in the picture that it shows, both in [-1, 1], as (x, y, 1).
    """
    return by_pieces(lambda piece, rows: pixels(warp_planes(piece.float().permute(0, 3, 1, 2), matrix_B23[rows]), x.dtype), x)


def warp_planes(x_BCHW: torch.Tensor, matrix_B23: torch.Tensor) -> torch.Tensor:
    """The same of float32 planes, new ones whatever the strides. A mean of values between 0 and 255 stays between them."""
    places_BHW2 = _places(matrix_B23, *x_BCHW.shape[2:])
    return functional.grid_sample(x_BCHW, places_BHW2, mode="bilinear", padding_mode="border", align_corners=False)


def _places(matrix_B23: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, H, W, 2): where each pixel comes from, several times faster than by the product of matrices in torch's affine_grid.

    It is a sum over rows and columns; x and y, side by side, are added at once as one complex number.
    """
    x_W1 = ((2.0 * torch.arange(width, device=matrix_B23.device) + 1.0) / width - 1.0)[:, None]
    y_H1 = ((2.0 * torch.arange(height, device=matrix_B23.device) + 1.0) / height - 1.0)[:, None]
    along_BW2 = matrix_B23[:, None, :, 0] * x_W1 + matrix_B23[:, None, :, 2]
    down_BH2 = matrix_B23[:, None, :, 1] * y_H1
    return torch.view_as_real(torch.view_as_complex(along_BW2)[:, None, :] + torch.view_as_complex(down_BH2)[:, :, None])


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
