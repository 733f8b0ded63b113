"""The profit curve of a decision between two actions.

What every threshold earns, and the one that earns most. All sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from lode.value import exact
from lode.value.contracts import Outcomes, Policy

TREAT_ALL = 0.0
TREAT_NONE = float(np.nextafter(1.0, 2.0))
"""A threshold above every probability."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One entry for each way to part the rows by a threshold, from treating none (first) to treating all (last).

    thresholds: float64 (M,), rows with prediction >= threshold are treated. treated: int64 (M,), how many those are.
    profits: exact money of all rows, integers (M,) in units of 10^-scale. gaps: float64 (M,), distance between the lowest
    prediction treated and the highest not treated (0 and 1 at the ends).
    """

    thresholds: np.ndarray
    treated: np.ndarray
    profits: np.ndarray
    gaps: np.ndarray
    scale: int


def profit_curve(prediction: np.ndarray, treated_money: np.ndarray, untreated_money: np.ndarray, scale: int) -> Curve:
    """prediction: probabilities (N,); treated_money, untreated_money: integers (N,), each row's money under either action.

    Rows with equal predictions stand or fall together. A threshold lies midway between two neighbouring predictions.
    """
    order_N = np.argsort(-prediction, kind="stable")
    sorted_N = prediction[order_N]
    gains_N = _subtract(treated_money, untreated_money)[order_N]
    last_M = np.flatnonzero(np.concatenate((sorted_N[1:] != sorted_N[:-1], [True]))) if len(sorted_N) else np.empty(0, np.int64)
    start = exact.total(untreated_money)
    profits = [start, *(start + int(gain) for gain in exact.running(gains_N)[last_M])]
    upper = np.concatenate(([1.0], sorted_N[last_M]))
    lower = np.concatenate((sorted_N[last_M], [0.0]))
    middle = (upper + lower) / 2
    # Midway between two adjacent floats is one of them: it must not be the one that is left untreated.
    thresholds = np.where(middle > lower, middle, upper)
    thresholds[-1] = TREAT_ALL
    thresholds[0] = TREAT_NONE
    return Curve(
        thresholds=thresholds,
        treated=np.concatenate(([0], last_M + 1)),
        profits=exact.integers(profits),
        gaps=upper - lower,
        scale=scale,
    )


def policy_curve(policy: Policy, outcomes: Outcomes) -> Curve:
    """The curve of any policy that decides between two actions, on these rows."""
    num_rows = len(outcomes.prediction)
    money = [policy.worth(np.full(num_rows, action, dtype=np.int64), outcomes) for action in (1, 0)]
    return profit_curve(outcomes.prediction, money[0], money[1], policy.scale)


def best(curve: Curve) -> int:
    """The position of the threshold that earns most.

    Of several that earn the same, the one with the widest gap around it, which new rows are least likely to cross; of those the
    highest, which treats the fewest.
    """
    most = curve.profits.max()
    equal = np.flatnonzero(curve.profits == most)
    return int(equal[np.argmax(curve.gaps[equal])])


def threshold(curve: Curve, break_even: float | None) -> float:
    """The threshold that earns most; where several do, the one nearest to the probability at which acting breaks even.

    Few rows leave wide gaps in which every threshold earns the same on them; what acting costs and brings says where in the gap new
    rows are best divided. break_even: from 0 to 1, None where it is not known. Treating all or none is kept only where nothing else
    earns as much.
    """
    place = best(curve)
    if break_even is None:
        return float(curve.thresholds[place])
    inner = np.flatnonzero(curve.profits[1:-1] == curve.profits.max()) + 1
    if not len(inner):
        return float(curve.thresholds[place])
    # Only strictly inside the gap does a threshold divide these rows as the curve says.
    half = curve.gaps[inner] / 2 * (1 - 1e-9)
    nearest = np.clip(break_even, curve.thresholds[inner] - half, curve.thresholds[inner] + half)
    return float(nearest[np.argmin(np.abs(nearest - break_even))])


def points(curve: Curve, limit: int = 200) -> list[dict[str, Any]]:
    """At most `limit` entries for a picture, both ends and the best among them.

    Each: threshold; treated, the share of rows; value, a Decimal per 1,000 decisions.
    """
    num_rows = int(curve.treated[-1])
    if num_rows == 0:
        return []
    spread = np.linspace(0, len(curve.thresholds) - 1, min(len(curve.thresholds), limit - 1)).round().astype(np.int64)
    shown = sorted({*spread.tolist(), best(curve)})
    return [
        {
            "threshold": float(curve.thresholds[place]),
            "treated": float(curve.treated[place] / num_rows),
            "value": _per_thousand(int(curve.profits[place]), num_rows, curve.scale),
        }
        for place in shown
    ]


def _per_thousand(profit: int, num_rows: int, scale: int) -> Decimal:
    return exact.rounded(Fraction(profit * 1000, num_rows * 10**scale))


def _subtract(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(exact.roomy(left, 2) - exact.roomy(right, 2))
