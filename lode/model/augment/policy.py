"""A few random changes out of many."""

from __future__ import annotations

import math
from functools import reduce
from typing import Annotated

import torch

from lode.core.types import Range, TensorSpec
from lode.model.affine import chain, rotation, warp_planes
from lode.model.blocks import is_image
from lode.model.colour import limits, recolour
from lode.model.modules import Augment
from lode.model.pieces import by_kinds, pixels, planes

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

    reads = ("image",)

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
        moved_B = ((choice_RB > 0) & (choice_RB <= _MOVES)).any(dim=0)
        coloured_B = ((choice_RB > _MOVES) & (choice_RB < first)).any(dim=0)
        low, high = bounds = limits(x)
        solarize_B, invert_B = ((choice_RB == first + number).any(dim=0) for number in range(_TONES))
        # From here on values turn over between the bounds: bright ones, all of them, or none
        threshold_B = torch.where(solarize_B, low + (high - low) * (1.0 - 0.5 * self.strength), high + 1.0)
        threshold_B = torch.where(invert_B, low - 1.0, threshold_B)

        def change(piece: torch.Tensor, rows: torch.Tensor, moved: bool, coloured: bool, toned: bool) -> torch.Tensor:
            picture = warp_planes(piece.float().permute(0, 3, 1, 2), moves[rows]) if moved else planes(piece)
            if coloured:
                picture = recolour(picture, **{name: factor[rows] for name, factor in factors.items()}).clamp_(*bounds)
            if toned:  # a sum of products takes a fifth of the time of a choice
                over = torch.ge(picture, threshold_B[rows][:, None, None, None], out=torch.empty_like(picture))
                picture = torch.addcmul(picture, over, (low + high) - 2.0 * picture)
            return pixels(picture, x.dtype)  # every change stays within the bounds

        return by_kinds(change, x, moved_B, coloured_B, solarize_B | invert_B)

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
