"""A decision between two actions, valued by a cost-benefit matrix.

What a right or wrong treatment and a right or wrong omission earn.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from lode.core.errors import SpecError
from lode.core.types import ColumnName
from lode.value import exact
from lode.value.contracts import Outcomes, Policy
from lode.value.curve import policy_curve, threshold

_CELLS = ("true_positive", "false_positive", "false_negative", "true_negative")


class Matrix(Policy):
    """Money of one row for each combination of action and outcome; losses are negative. A name is a column with each row's amount.

    Args:
        true_positive: Money where the event was foreseen and came true.
        false_positive: Money where the event was foreseen and did not come true.
        false_negative: Money where the event came true and was not foreseen.
        true_negative: Money where the event was not foreseen and did not come true.
    """

    task = "binary"

    def __init__(
        self,
        *,
        true_positive: Decimal | ColumnName = Decimal("0"),
        false_positive: Decimal | ColumnName = Decimal("0"),
        false_negative: Decimal | ColumnName = Decimal("0"),
        true_negative: Decimal | ColumnName = Decimal("0"),
    ) -> None:
        given = (true_positive, false_positive, false_negative, true_negative)
        self._cells = {name: exact.amount(value, name) for name, value in zip(_CELLS, given, strict=True)}
        if self._cells["true_positive"] == self._cells["false_negative"] and (
            self._cells["false_positive"] == self._cells["true_negative"]
        ):
            raise SpecError(
                "value: treating and not treating earn the same in every case, found true_positive = false_negative and "
                "false_positive = true_negative. Name the amounts in which a right decision differs from a wrong one"
            )
        fixed = [exact.places(value) for value in self._cells.values() if isinstance(value, Decimal)]
        self._scale = exact.COLUMN_SCALE if self.columns else max(fixed)
        self._threshold = 0.5

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns named as amounts, each once."""
        return tuple(dict.fromkeys(value for value in self._cells.values() if isinstance(value, str)))

    @property
    def scale(self) -> int:
        """Places of the amounts; 12 where columns give them."""
        return self._scale

    @property
    def threshold(self) -> float:
        """Rows with at least this probability are treated."""
        return self._threshold

    def fit(self, outcomes: Outcomes) -> None:
        """Choose the threshold that earns most on these rows; see `lode.value.curve.threshold` for ties."""
        self._threshold = threshold(policy_curve(self, outcomes), self._break_even(outcomes))

    def act(self, prediction: np.ndarray) -> np.ndarray:
        """1 where the probability reaches the threshold, int64 (N,)."""
        return (np.asarray(prediction) >= self._threshold).astype(np.int64)

    def worth(self, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
        """Exact money of each row. Errors: DataError for a money cell that is empty or too fine."""
        true_positive, false_positive, false_negative, true_negative = (self._money(name, outcomes) for name in _CELLS)
        positive_N = outcomes.truth == 1
        treated_N = np.where(positive_N, true_positive, false_positive)
        untreated_N = np.where(positive_N, false_negative, true_negative)
        return np.where(action == 1, treated_N, untreated_N)

    def simple(self, outcomes: Outcomes) -> dict[str, np.ndarray]:
        """Treating every row, and none."""
        num_rows = len(outcomes.truth)
        return {"treat all": np.ones(num_rows, dtype=np.int64), "treat none": np.zeros(num_rows, dtype=np.int64)}

    def state(self) -> dict[str, Any]:
        """The threshold."""
        return {"threshold": self._threshold}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the threshold."""
        self._threshold = float(state["threshold"])

    def _break_even(self, outcomes: Outcomes) -> float | None:
        """The probability at which acting earns what not acting does, (TN - FP) / (TN - FP + TP - FN); means where amounts differ by row.

        Source: Elkan 2001, The foundations of cost-sensitive learning, eq. 2. None where one action is better in every case.
        """
        cells = {name: self._money(name, outcomes) for name in _CELLS}
        positive_N = outcomes.truth == 1
        if not positive_N.any() or positive_N.all():
            return None
        gain = exact.total((cells["true_positive"] - cells["false_negative"])[positive_N]) / int(positive_N.sum())
        loss = exact.total((cells["true_negative"] - cells["false_positive"])[~positive_N]) / int((~positive_N).sum())
        return loss / (gain + loss) if gain > 0 and loss > 0 else None

    def _money(self, name: str, outcomes: Outcomes) -> np.ndarray:
        value = self._cells[name]
        if isinstance(value, str):
            return exact.column_units(outcomes.columns[value], value, self._scale)
        return np.broadcast_to(exact.integers([exact.units(value, self._scale)]), (len(outcomes.truth),))
