"""From money to a model: how many parameters and tokens a budget trains.

Chinchilla (Hoffmann 2022, arXiv 2203.15556): C = 6 N D operations are best spent with about D = 20 N tokens. A model that is served a
lot should be smaller and see more text (Sardana 2023, arXiv 2401.00448; Llama 3 8B saw 1,900 tokens a parameter).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lode.model.planning import decoder
from lode.model.shape import Shape

CHINCHILLA, OVERTRAINED = 20.0, 200.0
"""Tokens a parameter."""
_HEAD_WIDTH, _MOST_LAYERS = 64, 160


@dataclass(frozen=True, slots=True)
class Size:
    """A model that a budget trains. flops: of the whole training, exact for this shape."""

    shape: Shape
    parameters: int
    tokens: float
    flops: float

    @property
    def ratio(self) -> float:
        """Tokens a parameter that the budget pays for: about what was aimed at, for layers are whole."""
        return self.tokens / self.parameters


def size_for(flops: float, ratio: float, shape_of: Callable[[int], Shape]) -> Size:
    """The model whose training on `ratio` tokens a parameter takes as nearly as can be so many operations, all of which are spent.

    Operations are counted for the shape, scores and head among them, where the rule of thumb N = sqrt(C / (6 ratio)) leaves the scores
    out: its models would see a fifth fewer tokens. shape_of: layers to a Shape.
    """
    sizes = [_size(shape_of(layers), flops) for layers in range(1, _MOST_LAYERS + 1)]
    return min(sizes, key=lambda size: abs(math.log(size.ratio / ratio)))


def _size(shape: Shape, flops: float) -> Size:
    return Size(shape, _count(shape), flops / decoder.training_flops(shape, shape.context), flops)


def widths(layers: int) -> tuple[int, int, int, int]:
    """Width, heads, head width and hidden width of a plain Llama of so many layers: 64 a layer, as nanochat's one dial has it."""
    width = max(128, _HEAD_WIDTH * layers)
    return width, width // _HEAD_WIDTH, _HEAD_WIDTH, 64 * round(width * 8 / 3 / 64)


def _count(shape: Shape) -> int:
    return sum(decoder.parameters(shape).values())
