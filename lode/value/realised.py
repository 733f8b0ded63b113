"""What decisions earned once it is known what came true: totals, money per decision, intervals, against the best simple policy.

Every row's money is looked up by its own action and its own outcome, and a mean divides by the number of rows. (NannyML 0.13.1 divides
each cell of the confusion matrix by its column's sum, and spreads a window with one class over all four cells: 45,000 instead of 100,000.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from lode.core.errors import DataError
from lode.value import exact
from lode.value.bootstrap import drawn_means, interval
from lode.value.contracts import Outcomes, Policy

FEWEST_BLOCKS = 20
"""Fewer blocks say too little about how blocks differ."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions whose outcome is known.

    action: what was done (N,). outcomes: what the model said, what came true. rule: what the current rule would have done (N,), None
    where nobody said. days, requests: labels (N,) of what belongs together.
    """

    action: np.ndarray
    outcomes: Outcomes
    days: np.ndarray
    requests: np.ndarray
    rule: np.ndarray | None = None

    @property
    def blocks(self) -> tuple[str, np.ndarray]:
        """What is drawn together: days, or requests where there are not enough days."""
        if len(np.unique(self.days)) >= FEWEST_BLOCKS:
            return "day", self.days
        return "request", self.requests


@dataclass(frozen=True, slots=True)
class Against:
    """Another policy on the same decisions. total: exact, 10^-scale units. difference, low, high: the model's lead per decision."""

    name: str
    total: int
    difference: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class Realised:
    """Exact money of decisions. total: 10^-scale units of the currency; means: units of the currency per decision.

    low, high: 95 % of the mean. rivals: the one that earned most first. blocks: what was drawn together, and how many there are.
    """

    num_rows: int
    scale: int
    total: int
    mean: Fraction
    low: Fraction
    high: Fraction
    rivals: tuple[Against, ...]
    blocks: tuple[str, int]
    money: np.ndarray = field(repr=False, compare=False)

    @property
    def best(self) -> Against:
        """The best simple policy."""
        return self.rivals[0]

    @property
    def lead(self) -> Fraction:
        """What the model earned more than the best simple policy, units of the currency, all decisions together."""
        return Fraction(self.total - self.best.total, 10**self.scale)

    def to_json(self) -> dict[str, Any]:
        """Amounts as text."""
        rivals = [
            {"name": each.name, "total": text(Fraction(each.total, 10**self.scale)), "difference": text(each.difference),
             "low": text(each.low), "high": text(each.high)} for each in self.rivals
        ]  # fmt: skip
        return {
            "rows": self.num_rows, "total": text(Fraction(self.total, 10**self.scale)), "per_decision": text(self.mean),
            "low": text(self.low), "high": text(self.high), "lead": text(self.lead), "rivals": rivals,
            "blocks": {"of": self.blocks[0], "count": self.blocks[1]},
        }  # fmt: skip


def realise(policy: Policy, decided: Decided, *, resamples: int = 1000, seed: int = 0) -> Realised:
    """What was earned, against treating all, none and the current rule. Errors: DataError of no row."""
    num_rows = len(decided.action)
    if num_rows == 0:
        raise DataError("value: no outcome is known yet, at least one is needed. Report some with `lode worth outcomes`")
    actions: Mapping[str, np.ndarray] = policy.simple(decided.outcomes)
    if decided.rule is not None:
        actions = {**actions, "the current rule": decided.rule}
    money = [policy.worth(action, decided.outcomes) for action in (decided.action, *actions.values())]
    totals = [exact.total(column) for column in money]
    name, blocks = decided.blocks
    drawn = list(drawn_means(money, blocks, resamples, seed))
    unit = Fraction(1, 10**policy.scale)
    low, high = interval([draw[0] for draw in drawn])
    rivals = []
    for place, title in enumerate(actions, start=1):
        least, most = interval([draw[0] - draw[place] for draw in drawn])
        lead = Fraction(totals[0] - totals[place], num_rows)
        rivals.append(Against(title, totals[place], lead * unit, least * unit, most * unit))
    return Realised(
        num_rows=num_rows, scale=policy.scale, total=totals[0], mean=Fraction(totals[0], num_rows) * unit, low=low * unit,
        high=high * unit, rivals=tuple(sorted(rivals, key=lambda rival: -rival.total)), blocks=(name, len(np.unique(blocks))),
        money=money[0],
    )  # fmt: skip


def text(amount: Fraction, decimals: int = 6) -> str:
    """An amount as decimal text, rounded to so many places, without a tail of zeros."""
    written = f"{exact.rounded(amount, decimals):f}"
    return (written.rstrip("0").rstrip(".") if "." in written else written) or "0"
