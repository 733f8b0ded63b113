"""A number: one standardised value, squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lode.model.contracts import State, Task
from lode.model.scale import Scale, plain

if TYPE_CHECKING:
    import torch


class Number(Task):
    """A number. Models see it with the mean taken off and divided by the standard deviation of the training rows."""

    metrics = ("r2", "rmse", "mae")
    kind = "number"
    cells = "numbers"

    def __init__(self) -> None:
        self._scale = Scale()

    def fit(self, values: np.ndarray) -> None:
        """Learn mean and standard deviation; a spread of zero counts as one. values: numbers or None (N,).

        Errors: DataError where no value is a finite number.
        """
        self._scale.fit(values)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N,), standardised; NaN where the number is missing or not finite."""
        return self._scale.encode(values)

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
        return {"": self._scale.decode(scores_NK[:, 0])}

    def natural(self, target: np.ndarray) -> np.ndarray:
        """In the unit of the data, float64 (N,)."""
        return self._scale.decode(target)

    def truth(self, values: np.ndarray) -> np.ndarray:
        """As the data have them, float64 (N,): without the rounding of `encode`."""
        return plain(values)

    def state(self) -> State:
        """Mean and standard deviation."""
        return self._scale.state()

    def restore(self, state: State) -> None:
        """Take over mean and standard deviation."""
        self._scale.restore(state)
