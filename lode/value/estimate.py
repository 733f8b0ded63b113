"""What decisions are expected to earn before it is known what comes true: Σ p·v over calibrated probabilities.

The idea is NannyML's confidence-based performance estimation, CBPE, done in exact integers. It holds as far as the probabilities
are calibrated and what they say about is still the same: `backtest` says how far it was off where outcomes are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from lode.value import exact
from lode.value.bootstrap import block_totals
from lode.value.contracts import Outcomes, Policy
from lode.value.realised import text

PLACES = 9
"""Decimal places to which a probability is rounded before it is multiplied."""


def expected(policy: Policy, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    """Expected money of each row, integers (N,) of 10^-(scale + PLACES): exactly p·v(1) + (1 - p)·v(0), p rounded to PLACES.

    policy: for two actions. outcomes: its truth is not read.
    """
    assert type(policy).task == "binary", "a number has no probability"
    one = 10**PLACES
    chance_N = np.rint(np.clip(outcomes.prediction, 0.0, 1.0) * one).astype(np.int64).astype(object)
    num_rows = len(chance_N)
    positive, negative = (
        policy.worth(action, replace(outcomes, truth=np.full(num_rows, truth, dtype=np.int64))).astype(object) for truth in (1, 0)
    )
    return exact.integers((chance_N * positive + (one - chance_N) * negative).tolist())


@dataclass(frozen=True, slots=True)
class Backtest:
    """How far estimates were off where outcomes are known, in units of the currency per decision.

    bias: mean of estimate - actual. error: mean of its magnitude over `windows` blocks, each weighted by its rows.
    """

    bias: Fraction
    error: Fraction
    windows: int

    def to_json(self) -> dict[str, Any]:
        return {"bias_per_decision": text(self.bias), "error_per_decision": text(self.error), "windows": self.windows}


def backtest(estimates: np.ndarray, actual: np.ndarray, scale: int, blocks: np.ndarray) -> Backtest:
    """estimates: of `expected` (N,). actual: of `Policy.worth` for the same rows. blocks: labels (N,), a day each, say."""
    differences = estimates.astype(object) - actual.astype(object) * 10**PLACES
    sums = block_totals(exact.integers(differences.tolist()), blocks)
    unit = Fraction(1, 10 ** (scale + PLACES) * len(blocks))
    return Backtest(exact.total(sums) * unit, exact.total(np.abs(sums)) * unit, len(sums))
