"""What a solver without a loop of ours does under a deadline: as many iterations as there is time for, by one gradient that was timed."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from scipy.special import log_expit, log_softmax

from lode.model.contracts import Part

ENDED_BY_CLOCK = "ended_by_clock"
"""In `Fitted.choices` where a deadline ended a fit that would have gone on; families with a loop plan by it instead."""
FEWEST_ITERATIONS = 10
"""A solution is worth something after so many, so that no deadline allows fewer."""
_STEP_GRADIENTS = 1.3
"""Gradients that an iteration of the solver takes."""


class Pace:
    """How many iterations of a solver there is time for: without a deadline as many as wanted, so that nothing depends on the clock."""

    def __init__(self, deadline_s: float | None, ended: list[bool] | None = None, gradient_s: float = 0.0) -> None:
        """deadline_s: from now on. ended: shared by all that come of one; not empty where the clock cut something short."""
        self._end_s = math.inf if deadline_s is None else time.monotonic() + deadline_s
        self._gradient_s, self.ended = gradient_s, [] if ended is None else ended

    def left_s(self) -> float:
        """Never below 0."""
        return max(0.0, self._end_s - time.monotonic())

    def share(self, part: float) -> Pace:
        """A pace for this part of the time that is left."""
        return Pace(None if math.isinf(self._end_s) else part * self.left_s(), self.ended, self._gradient_s)

    def measure(self, matrix_NX: Any, part: Part) -> None:
        """Time one gradient on these rows, the second of two; nothing without a deadline."""
        weight_XC = np.zeros((matrix_NX.shape[1], part.num_scores))
        for _ in range(0 if math.isinf(self._end_s) else 2):
            begin_s = time.monotonic()
            scores_NC = matrix_NX @ weight_XC
            matrix_NX.T @ (log_softmax(scores_NC, axis=1) if part.num_scores > 1 else log_expit(scores_NC))
            self._gradient_s = time.monotonic() - begin_s

    def affordable(self, row_share: float) -> float:
        """Iterations over this share of the rows that end in time."""
        return self.left_s() / max(_STEP_GRADIENTS * row_share * self._gradient_s, 1e-9)

    def iterations(self, row_share: float, most: int) -> int:
        """As many of `most` as there is time for."""
        return min(most, max(FEWEST_ITERATIONS, int(min(most, self.affordable(row_share)))))

    def note(self, ended: bool) -> None:
        """Keep in mind that the clock decided something."""
        self.ended += [ended] if ended else []
