"""A number: one standardised value, squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lode.core.errors import DataError
from lode.model.contracts import State, Task

if TYPE_CHECKING:
    import torch


class Number(Task):
    """A number. Models see it with the mean taken off and divided by the standard deviation of the training rows."""

    metrics = ("r2", "rmse", "mae")
    kind = "number"

    def __init__(self) -> None:
        self._mean = 0.0
        self._spread = 1.0

    def fit(self, values: np.ndarray) -> None:
        """Learn mean and standard deviation; a spread of zero counts as one. values: numbers or None (N,).

        Errors: DataError where no value is a finite number.
        """
        numbers = _numbers(values)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            raise DataError("output: no finite number found, at least one is needed. Check that the column has numbers")
        # In units of the largest number, squares neither overflow nor vanish.
        largest = float(np.abs(numbers).max()) or 1.0
        mean, spread = float((numbers / largest).mean()), float((numbers / largest).std())
        self._mean = mean * largest
        # Equal numbers may leave a spread of rounding error; dividing by it would blow that error up.
        self._spread = spread * largest if spread > 1e-14 else 1.0

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N,), standardised; NaN where the number is missing or not finite."""
        numbers = _numbers(values)
        standardised = (numbers - self._mean) / self._spread
        return np.where(np.isfinite(numbers), standardised, np.nan).astype(np.float32)

    @property
    def num_scores(self) -> int:
        """One value."""
        return 1

    @property
    def classes(self) -> tuple[str, ...]:
        """None: it is a number."""
        return ()

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the standardised values."""
        from torch.nn import functional

        return functional.mse_loss(scores_BK[:, 0].float(), target_B.float())

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The number in its own unit, float64 (N,); temperature has no meaning here."""
        return {"": scores_NK[:, 0].astype(np.float64) * self._spread + self._mean}

    def state(self) -> State:
        """Mean and standard deviation."""
        return {"mean": self._mean, "spread": self._spread}

    def restore(self, state: State) -> None:
        """Take over mean and standard deviation."""
        self._mean = float(state["mean"])
        self._spread = float(state["spread"])


def _numbers(values: np.ndarray) -> np.ndarray:
    """float64 (N,), NaN for None. Errors: DataError for a value that is no number."""
    if values.dtype != object:
        return values.astype(np.float64)
    try:
        return np.array([np.nan if value is None else float(value) for value in values.tolist()], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"output: {error}, a number is needed. Use `type: multiclass` for labels") from error
