"""How much to order before demand is known: what is left over loses, what is missing is not sold."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from lode.core.errors import SpecError
from lode.value import exact
from lode.value.contracts import Outcomes, Policy
from lode.value.quantile import critical_quantile


class Newsvendor(Policy):
    """Quantities ordered at a cost, sold at a price up to the demand. Quantities are rounded to 6 decimal places, never below 0.

    Args:
        price: What one sold unit brings.
        cost: What one ordered unit costs.
        salvage: What one unit left over still brings; negative where it costs.
        shortage: What one unit of demand that was not met costs, besides the sale.
    """

    task = "number"

    def __init__(self, *, price: Decimal, cost: Decimal, salvage: Decimal = Decimal("0"), shortage: Decimal = Decimal("0")) -> None:
        given = {"price": price, "cost": cost, "salvage": salvage, "shortage": shortage}
        self._amounts = {name: exact.fixed_amount(value, name) for name, value in given.items()}
        self._short = Fraction(self._amounts["price"]) - Fraction(self._amounts["cost"]) + Fraction(self._amounts["shortage"])
        self._over = Fraction(self._amounts["cost"]) - Fraction(self._amounts["salvage"])
        if self._short <= 0:
            raise SpecError(f"value.price: found {price} at a cost of {cost}, price + shortage above cost is allowed. Correct them")
        if self._over <= 0:
            raise SpecError(f"value.salvage: found {salvage} at a cost of {cost}, less than the cost is allowed. Correct them")
        self._places = max(exact.places(value) for value in self._amounts.values())
        self._shift, self._constant, self._mean = 0.0, 0.0, 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def scale(self) -> int:
        """Places of the amounts and of the quantities."""
        return self._places + exact.QUANTITY_SCALE

    def fit(self, outcomes: Outcomes) -> None:
        """Learn what to add to a prediction: the residuals' quantile at the critical ratio, (price - cost + shortage) /
        (... + cost - salvage).

        Errors: DataError of no row.
        """
        truth = np.asarray(outcomes.truth, dtype=np.float64)
        self._shift = critical_quantile(truth - outcomes.prediction, self._short, self._over)
        self._constant = critical_quantile(truth, self._short, self._over)
        self._mean = float(truth.mean())

    def act(self, prediction: np.ndarray) -> np.ndarray:
        """The quantity to order for each prediction, float64 (N,)."""
        return np.round(np.maximum(np.asarray(prediction, dtype=np.float64) + self._shift, 0.0), exact.QUANTITY_SCALE)

    def worth(self, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
        """Exact: price x sold - cost x ordered + salvage x left over - shortage x missing.

        Errors: DataError for NaN or infinity.
        """
        ordered, demand = exact.quantity_units(action), exact.quantity_units(outcomes.truth)
        ordered, demand = exact.roomy(ordered, 4), exact.roomy(demand, 4)
        sold = np.minimum(ordered, demand)
        price, cost, salvage, shortage = (exact.units(self._amounts[name], self._places) for name in self._amounts)
        parts = [(sold, price), (ordered, -cost), (ordered - sold, salvage), (demand - sold, -shortage)]
        money = [exact.roomy(exact.product(quantity, factor), len(parts)) for quantity, factor in parts]
        return np.asarray(money[0] + money[1] + money[2] + money[3])

    def simple(self, outcomes: Outcomes) -> dict[str, np.ndarray]:
        """Ordering the mean of the fitted rows, and ordering the one quantity that earned most there."""
        num_rows = len(outcomes.truth)
        return {
            "order the mean": np.full(num_rows, round(max(self._mean, 0.0), exact.QUANTITY_SCALE)),
            "order the same": np.full(num_rows, round(max(self._constant, 0.0), exact.QUANTITY_SCALE)),
        }

    def state(self) -> dict[str, Any]:
        """The shift, and the quantities of the simple policies."""
        return {"shift": self._shift, "constant": self._constant, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take them over."""
        self._shift, self._constant, self._mean = (float(state[name]) for name in ("shift", "constant", "mean"))
