"""What models without a training loop take, from rows, columns and options alone: estimates, since the data decide when they stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

_CELL_S = 3.3e-9
"""Seconds of one core for a cell in a boosting round: 3e9 of them take about ten seconds (docs/experiments.md)."""
_BINS, _BIN_BYTES = 256, 16
_SAMPLED_ROWS, _SAMPLED_BYTES = 200_000, 12
"""From so many rows LightGBM finds its bins, with a double and an index for each cell."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Before a row is seen. steps: boosting rounds or passes of a solver, at most; step_s: of one, on one core.

    memory_bytes: beside the rows themselves.
    """

    parameters: int
    flops_per_row: int
    steps: int
    step_s: float
    memory_bytes: float


def trees(rows: int, columns: int, scores: int, rounds: int, leaves: int) -> Outlook:
    """Boosting in histograms (Ke 2017, LightGBM, section 2.1): each round looks at every cell once for each score.

    parameters: leaves and inner nodes of full trees, the most there can be. Memory: a byte a cell for the bins, gradients and scores of
    each row, a histogram for each leaf; the cells from which the bins are found are the most of it.
    """
    trees_in_all = rounds * scores
    held = rows * columns + rows * scores * (4 + 4 + 8 + 8) + rows * 12 + leaves * columns * _BINS * _BIN_BYTES
    return Outlook(
        parameters=trees_in_all * (2 * leaves - 1),
        flops_per_row=trees_in_all * (math.ceil(math.log2(max(leaves, 2))) + 1),
        steps=rounds,
        step_s=rows * columns * scores * _CELL_S,
        memory_bytes=float(held + min(rows, _SAMPLED_ROWS) * columns * _SAMPLED_BYTES),
    )


def linear(rows: int, columns: int, scores: int, passes: int = 100) -> Outlook:
    """A weight for each column and score; a solver passes over all cells a hundred times or fewer (L-BFGS), in 64 bits."""
    return Outlook(
        parameters=(columns + 1) * scores,
        flops_per_row=2 * (columns + 1) * scores,
        steps=passes,
        step_s=rows * columns * scores * 4e-9,
        memory_bytes=8.0 * rows * columns + 16.0 * rows * scores,
    )
