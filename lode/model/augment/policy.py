"""A few random changes out of many."""

from __future__ import annotations

import math
from functools import reduce
from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.affine import chain, rotation, warp_planes
from lode.model.blocks import is_image
from lode.model.colour import Bounds, limits, recolour
from lode.model.modules import Augment
from lode.model.pieces import by_pieces, change_rows, pixels, planes

_MOVES, _COLOURS, _TONES = 5, 3, 2
_ANGLE, _SLANT, _SHIFT = math.radians(30.0), 0.3, 0.3


class Policy(Augment):
    """Draws `rounds` changes for each picture, all equally likely, after RandAugment (Cubuk 2020, arXiv 1909.13719).

    They are: none, rotate, shear and shift along each axis, brightness, contrast, saturation, solarize, invert. Places change
    first and in one step, then colours, then tones, so that the cost does not grow with `rounds`.

    Args:
        rounds: Changes for each picture; one may be drawn twice.
        strength: How far they go: 1 turns by 30 degrees, slants and shifts by 0.3 of the side, changes colours by 0.9.
    """

    def __init__(
        self,
        spec: TensorSpec,
        *,
        rounds: Annotated[int, Range(1, 8)] = 2,
        strength: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    ) -> None:
        super().__init__()
        self.rounds = rounds
        self.strength = strength
        self.ratio = spec.shape[0] / spec.shape[1]

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_image(spec)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        choice_RB = torch.randint(1 + _MOVES + _COLOURS + _TONES, (self.rounds, len(x)), generator=generator, device=x.device)
        sign_RB = torch.randint(2, choice_RB.shape, generator=generator, device=x.device) * 2.0 - 1.0
        amount_RB = self.strength * sign_RB
        moves = reduce(chain, self._move(choice_RB.flatten(), amount_RB.flatten()).unflatten(0, choice_RB.shape))
        first = 1 + _MOVES + _COLOURS
        factors = {
            f"{name}_B": torch.where(choice_RB == 1 + _MOVES + number, 1.0 + 0.9 * amount_RB, 1.0).prod(dim=0)
            for number, name in enumerate(("brightness", "contrast", "saturation"))
        }
        tones = [(choice_RB == first + number).any(dim=0) for number in range(_TONES)]
        moved_B = ((choice_RB > 0) & (choice_RB <= _MOVES)).any(dim=0)
        coloured_B = ((choice_RB > _MOVES) & (choice_RB < first)).any(dim=0)
        bounds = limits(x)

        def change(piece: torch.Tensor, rows: slice) -> torch.Tensor:
            def recoloured(picture: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
                return recolour(picture, **{name: factor[rows][at] for name, factor in factors.items()}).clamp_(*bounds)

            def toned(picture: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
                return self._tones(picture, bounds, *(tone_B[rows][at] for tone_B in tones))

            picture = change_rows(planes(piece), moved_B[rows], lambda own, at: warp_planes(own, moves[rows][at]))
            picture = change_rows(picture, coloured_B[rows], recoloured)
            picture = change_rows(picture, tones[0][rows] | tones[1][rows], toned)
            return pixels(picture, x.dtype)  # every change stays within the bounds

        return by_pieces(change, x)

    def _move(self, choice_B: torch.Tensor, amount_B: torch.Tensor) -> torch.Tensor:
        """The affine map of one round: choices 1 to 5 are rotate, shear x, shear y, shift x, shift y; all others move nothing."""
        matrix_B23 = rotation(torch.where(choice_B == 1, amount_B * _ANGLE, 0.0), self.ratio)
        for choice, (row, column), size in (
            (2, (0, 1), _SLANT),
            (3, (1, 0), _SLANT),
            (4, (0, 2), 2 * _SHIFT),
            (5, (1, 2), 2 * _SHIFT),
        ):
            matrix_B23[:, row, column] += (choice_B == choice) * (amount_B * size)
        return matrix_B23

    def _tones(self, picture: torch.Tensor, bounds: Bounds, solarize_B: torch.Tensor, invert_B: torch.Tensor) -> torch.Tensor:
        """Solarize turns the bright values over between the bounds, invert all of them."""
        low, high = bounds
        threshold_B = torch.where(solarize_B, low + (high - low) * (1.0 - 0.5 * self.strength), high + 1.0)
        threshold_B = torch.where(invert_B, low - 1.0, threshold_B)
        return torch.where(picture >= _wide(threshold_B), (low + high) - picture, picture)


def _wide(value_B: torch.Tensor) -> torch.Tensor:
    return value_B[:, None, None, None]
