"""Pictures under a linear change of colour, each under its own: what the augmentations colour and policy share."""

from __future__ import annotations

import torch

# Luma of ITU-R BT.601, as JPEG and most picture tools have it
_LUMA = (0.299, 0.587, 0.114)


def recolour(
    picture: torch.Tensor, *, brightness_B: torch.Tensor, contrast_B: torch.Tensor, saturation_B: torch.Tensor
) -> torch.Tensor:
    """Three factors for each picture, 1 changes nothing. picture: float32 (B, H, W, C); a new one comes back, not yet `within` bounds.

    saturation spreads the channels about the pixel's grey, contrast the pixels about the picture's mean grey, brightness multiplies.
    """
    grey_BHW1 = grey(picture)
    has_colour = picture.shape[3] == 3
    own_B = brightness_B * contrast_B
    mean_B = grey_BHW1.mean(dim=(1, 2, 3)) * brightness_B * (1.0 - contrast_B)
    changed = picture * _wide(own_B * saturation_B if has_colour else own_B) + _wide(mean_B)
    return changed.addcmul_(grey_BHW1, _wide(own_B * (1.0 - saturation_B))) if has_colour else changed


def grey(picture: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 1): the luma of three channels, the mean of any other number."""
    if picture.shape[3] != 3:
        return picture.mean(dim=3, keepdim=True)
    red, green, blue = (picture[..., channel : channel + 1] for channel in range(3))
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


def within(changed: torch.Tensor, dtype: torch.dtype, bounds: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Floats back within the `limits` of the batch, and in its type."""
    bounded = torch.clamp(changed, *bounds)
    return bounded.add_(0.5).to(torch.uint8) if dtype == torch.uint8 else bounded


def limits(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What values pictures may have, two scalars: 0 and 255 for bytes, the least and the largest one of the batch for floats."""
    if x.dtype == torch.uint8:
        return torch.zeros((), device=x.device), torch.full((), 255.0, device=x.device)
    return x.amin(), x.amax()


def factors(rows: int, amount: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 (rows,) between 1 - amount and 1 + amount."""
    return 1.0 + amount * (2.0 * torch.rand(rows, generator=generator, device=device) - 1.0)


def _wide(value_B: torch.Tensor) -> torch.Tensor:
    return value_B[:, None, None, None]
