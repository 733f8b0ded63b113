"""A number that is acted upon: every unit too much costs so much, every unit too little so much."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

import numpy as np

from lode.core.errors import SpecError
from lode.core.types import Range
from lode.value import exact
from lode.value.contracts import Outcomes, Policy
from lode.value.quantile import critical_quantile


class PerUnit(Policy):
    """What over- and under-prediction cost a unit. Numbers are rounded to 6 decimal places.

    Args:
        over: What one unit predicted too much costs; not negative.
        under: What one unit predicted too little costs; not negative.
    """

    task = "number"

    def __init__(self, *, over: Annotated[Decimal, Range(0)], under: Annotated[Decimal, Range(0)]) -> None:
        self._over, self._under = exact.fixed_amount(over, "over"), exact.fixed_amount(under, "under")
        for name, value in (("over", self._over), ("under", self._under)):
            if value < 0:
                raise SpecError(f"value.{name}: found {value}, at least 0 is allowed. Write a cost as a positive amount")
        if self._over == self._under == 0:
            raise SpecError("value: found over and under at 0, one above 0 is needed. Name what a unit of error costs")
        self._places = max(exact.places(self._over), exact.places(self._under))
        self._shift, self._constant, self._mean = 0.0, 0.0, 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def scale(self) -> int:
        """Places of the amounts and of the numbers."""
        return self._places + exact.QUANTITY_SCALE

    def fit(self, outcomes: Outcomes) -> None:
        """Learn what to add to a prediction: the residuals' quantile at under / (under + over).

        Errors: DataError of no row.
        """
        truth = np.asarray(outcomes.truth, dtype=np.float64)
        short, over = Fraction(self._under), Fraction(self._over)
        self._shift = critical_quantile(truth - outcomes.prediction, short, over)
        self._constant = critical_quantile(truth, short, over)
        self._mean = float(truth.mean())

    def act(self, prediction: np.ndarray) -> np.ndarray:
        """The number to act upon for each prediction, float64 (N,)."""
        return np.round(np.asarray(prediction, dtype=np.float64) + self._shift, exact.QUANTITY_SCALE)

    def worth(self, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
        """Minus the cost of each row's error, exact. Errors: DataError for NaN or infinity."""
        taken, truth = exact.quantity_units(action), exact.quantity_units(outcomes.truth)
        error = exact.roomy(taken, 4) - exact.roomy(truth, 4)
        over = exact.product(np.maximum(error, 0), -exact.units(self._over, self._places))
        under = exact.product(np.minimum(error, 0), exact.units(self._under, self._places))
        return np.asarray(exact.roomy(over, 2) + exact.roomy(under, 2))

    def simple(self, outcomes: Outcomes) -> dict[str, np.ndarray]:
        """The mean of the fitted rows, and the one number that cost least there."""
        num_rows = len(outcomes.truth)
        return {
            "the mean": np.full(num_rows, round(self._mean, exact.QUANTITY_SCALE)),
            "always the same": np.full(num_rows, round(self._constant, exact.QUANTITY_SCALE)),
        }

    def state(self) -> dict[str, Any]:
        """The shift, and the numbers of the simple policies."""
        return {"shift": self._shift, "constant": self._constant, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take them over."""
        self._shift, self._constant, self._mean = (float(state[name]) for name in ("shift", "constant", "mean"))
