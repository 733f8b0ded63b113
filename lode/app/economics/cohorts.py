"""Decisions by the month in which they were made, and how long their outcomes took: what is known, what is still estimated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from lode.app.economics.readings import DAY_US
from lode.app.economics.valued import Row, Valued, decided
from lode.value.contracts import Outcomes, Policy
from lode.value.estimate import PLACES, Backtest, backtest, expected
from lode.value.realised import Realised, realise, text

MATURITY_DAYS = (7, 30, 90)
"""Ends of the columns of the table, in days from decision to outcome."""
_MOST_WINDOWS, _WINDOW_ROWS = 20, 40


def month_of(at_us: int) -> str:
    """`2026-11`, UTC."""
    return _month_of_day(at_us // DAY_US)


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


def table(rows: Sequence[Row], leads: Mapping[str, tuple[Fraction, Fraction]]) -> list[dict[str, Any]]:
    """One line a month. leads: month -> what is known and what is estimated of the model's lead."""
    cohorts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        cohorts[month_of(row.decided_us)].append(row)
    lines = []
    for month, members in sorted(cohorts.items()):
        counts = [0] * (len(MATURITY_DAYS) + 1)
        for row in members:
            if row.told_us is not None:
                days = (row.told_us - row.decided_us) // DAY_US
                counts[sum(days >= end for end in MATURITY_DAYS)] += 1
        known, estimated = leads.get(month, (Fraction(0), Fraction(0)))
        lines.append({
            "month": month, "decisions": len(members), "within_days": dict(zip(_titles(), counts, strict=True)),
            "pending": len(members) - sum(counts), "lead_known": text(known), "lead_estimated": text(estimated),
        })  # fmt: skip
    return lines


def _titles() -> list[str]:
    ends = [str(end) for end in MATURITY_DAYS]
    return [*(f"<{end}" for end in ends), f">={ends[-1]}"]


class Worth:
    """The money of decisions: of those whose outcome is known, exactly; of the others, as expected.

    known: None where no outcome is known. rival: the best simple policy, on what is known, else as expected. tested: how far the
    estimates were off, None for numbers and where nothing is known. pending: decisions that can only be estimated yet.
    """

    def __init__(self, model: Valued, rows: Sequence[Row], *, resamples: int = 1000):
        self._model = model
        known = [row for row in rows if row.truth is not None]
        pending = [row for row in rows if row.truth is None] if model.is_binary and not model.policy.columns else []
        self.pending = pending
        self._parts = [(part, decided(model, part)) for part in (known, pending)]
        self.known: Realised | None = realise(model.policy, self._parts[0][1], resamples=resamples) if known else None
        self.rival, self._months = self._measured(model.policy) if known or pending else ("", {})
        self.tested: Backtest | None = self._tested()

    def lead(self, changed: Mapping[str, Any] | None = None) -> Fraction:
        """What the model earned more than the best simple policy, known and estimated together.

        changed: other amounts, under which another simple policy may be the best one; the decisions stay as they were made.
        """
        months = self._months if changed is None else self._measured(self._model.with_options(changed))[1]
        return sum((known + estimated for known, estimated in months.values()), Fraction(0))

    def by_month(self) -> Mapping[str, tuple[Fraction, Fraction]]:
        """Month of decision -> lead over the best simple policy, known and estimated."""
        return self._months

    def _measured(self, policy: Policy) -> tuple[str, dict[str, tuple[Fraction, Fraction]]]:
        """The best simple policy, and the lead over it by month."""
        leads = [self._leads(policy, place) for place in (0, 1)]
        first = leads[0] or leads[1]
        rival = min(first, key=lambda name: sum(first[name]))
        known: list[Any] = leads[0].get(rival, [])
        estimated: list[Any] | None = leads[1].get(rival)
        if estimated is None:  # what the current rule would do is told with the outcome only: the lead that is known goes on
            estimated = [Fraction(sum(known), len(known))] * len(self.pending)
        sums: dict[str, list[Any]] = defaultdict(lambda: [0, 0])
        for place, money in enumerate((known, estimated)):
            for row, amount in zip(self._parts[place][0], money, strict=True):
                sums[month_of(row.decided_us)][place] += amount
        unit = Fraction(1, 10 ** (policy.scale + PLACES))
        return rival, {month: (pair[0] * unit, pair[1] * unit) for month, pair in sorted(sums.items())}

    def _leads(self, policy: Policy, place: int) -> dict[str, list[int]]:
        """Simple policy -> 10^-(scale + PLACES) units that the model earned more with each row of a part; empty of no row."""
        rows, given = self._parts[place]
        if not rows:
            return {}
        # What the simple policies do follows from the policy as it was fitted, not from its amounts.
        actions = dict(self._model.policy.simple(given.outcomes))
        if given.rule is not None:
            actions["the current rule"] = given.rule
        count = expected if place else _exactly
        own = count(policy, given.action, given.outcomes).astype(object)
        return {name: (own - count(policy, action, given.outcomes).astype(object)).tolist() for name, action in actions.items()}

    def _tested(self) -> Backtest | None:
        if self.known is None or not self._model.is_binary:
            return None
        given = self._parts[0][1]
        estimates = expected(self._model.policy, given.action, given.outcomes)
        num_rows = len(given.action)
        # One after another in time; of fewer rows a window would say more about chance than about the estimate.
        windows = np.arange(num_rows) * max(1, min(_MOST_WINDOWS, num_rows // _WINDOW_ROWS)) // num_rows
        return backtest(estimates, self.known.money, self._model.policy.scale, windows)


def _exactly(policy: Policy, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
    """As `expected`, of what came true."""
    return np.asarray(policy.worth(action, outcomes).astype(object) * 10**PLACES)
