"""Pictures under a linear change of colour, each under its own: what the augmentations colour and policy share."""

from __future__ import annotations

import torch

# Luma of ITU-R BT.601, as JPEG and most picture tools have it
_LUMA = (0.299, 0.587, 0.114)

Bounds = tuple[float, float] | tuple[torch.Tensor, torch.Tensor]


def recolour(
    picture_BCHW: torch.Tensor, *, brightness_B: torch.Tensor, contrast_B: torch.Tensor, saturation_B: torch.Tensor
) -> torch.Tensor:
    """Three factors for each picture, 1 changes nothing. A new float32 (B, C, H, W) comes back, not yet within the `limits`.

    saturation spreads the channels about the pixel's grey, contrast the pixels about the picture's mean grey, brightness multiplies.
    """
    grey_B1HW = grey(picture_BCHW)
    has_colour = picture_BCHW.shape[1] == 3
    own_B = brightness_B * contrast_B
    mean_B = grey_B1HW.mean(dim=(1, 2, 3)) * brightness_B * (1.0 - contrast_B)
    added_B1HW = grey_B1HW * _wide(own_B * (1.0 - saturation_B)) + _wide(mean_B) if has_colour else _wide(mean_B)
    return torch.addcmul(added_B1HW, picture_BCHW, _wide(own_B * saturation_B if has_colour else own_B))


def grey(picture_BCHW: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W): the luma of three channels, the mean of any other number."""
    if picture_BCHW.shape[1] != 3:
        return picture_BCHW.mean(dim=1, keepdim=True)
    red, green, blue = picture_BCHW.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def limits(x: torch.Tensor) -> Bounds:
    """What values pictures may have: 0 and 255 for bytes, the least and the largest one of the batch for floats, on the device."""
    if x.dtype == torch.uint8:
        return 0.0, 255.0
    return x.amin(), x.amax()


def factors(rows: int, amount: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 (rows,) between 1 - amount and 1 + amount."""
    return 1.0 + amount * (2.0 * torch.rand(rows, generator=generator, device=device) - 1.0)


def _wide(value_B: torch.Tensor) -> torch.Tensor:
    return value_B[:, None, None, None]
