"""Numbers as networks want them: the mean of the training rows taken off, divided by their standard deviation.

Shared by the tasks `number` and `quantiles`; read those next.
"""

from __future__ import annotations

import numpy as np

from lode.core.errors import DataError
from lode.model.contracts import State


class Scale:
    """Mean and standard deviation of the training values."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.spread = 1.0

    def fit(self, values: np.ndarray) -> None:
        """Learn mean and standard deviation; a spread of zero counts as one. values: numbers or None (N,).

        Errors: DataError where no value is a finite number.
        """
        numbers = plain(values)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            raise DataError("output: no finite number found, at least one is needed. Check that the column has numbers")
        # In units of the largest number, squares neither overflow nor vanish.
        largest = float(np.abs(numbers).max()) or 1.0
        mean, spread = float((numbers / largest).mean()), float((numbers / largest).std())
        self.mean = mean * largest
        # Equal numbers may leave a spread of rounding error; dividing by it would blow that error up.
        self.spread = spread * largest if spread > 1e-14 else 1.0

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N,), standardised; NaN where the number is missing or not finite."""
        numbers = plain(values)
        standardised = (numbers - self.mean) / self.spread
        return np.where(np.isfinite(numbers), standardised, np.nan).astype(np.float32)

    def decode(self, standardised: np.ndarray) -> np.ndarray:
        """float64 of any shape, in the unit of the data."""
        return standardised.astype(np.float64) * self.spread + self.mean

    def state(self) -> State:
        """Mean and standard deviation."""
        return {"mean": self.mean, "spread": self.spread}

    def restore(self, state: State) -> None:
        """Take over mean and standard deviation."""
        self.mean = float(state["mean"])
        self.spread = float(state["spread"])


def plain(values: np.ndarray) -> np.ndarray:
    """float64 (N,), NaN for None. Errors: DataError for a value that is no number."""
    if values.dtype != object:
        return values.astype(np.float64)
    try:
        return np.array([np.nan if value is None else float(value) for value in values.tolist()], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"output: {error}, a number is needed. Use `type: multiclass` for labels") from error
