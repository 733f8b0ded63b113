"""Quantiles of a number: how low and how high it may be, pinball loss, never crossing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from lode.core.types import ColumnSchema, Range
from lode.model.contracts import Part, State, Task
from lode.model.scale import Scale, plain

if TYPE_CHECKING:
    import torch


class Quantiles(Task):
    """Numbers below which the true one lies with the given chances (Koenker and Bassett 1978, Econometrica 46:33).

    The answer is the level nearest to 0.5, beside it one column a level. Each row's quantiles are sorted, which can only bring them
    nearer to the truth (Chernozhukov 2010, Econometrica 78:1093): they never cross.

    Args:
        levels: chances, each between 0 and 1, rising.
    """

    metrics = ("pinball", "coverage", "interval_width")
    kind = "quantiles"
    fits = (("levels", "rising", None),)
    cells = "numbers"

    def __init__(
        self,
        *,
        levels: list[Annotated[float, Range(0, 1, open_low=True, open_high=True)]] = (0.1, 0.5, 0.9),  # type: ignore[assignment]
    ) -> None:
        self._levels = tuple(float(level) for level in levels)
        self._scale = Scale()

    def fit(self, values: np.ndarray) -> None:
        """Learn mean and standard deviation. values: numbers or None (N,). Errors: DataError where no value is a finite number."""
        self._scale.fit(values)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N,), standardised; NaN where the number is missing or not finite."""
        return self._scale.encode(values)

    @property
    def num_scores(self) -> int:
        """One value a level."""
        return len(self._levels)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: it is a number."""
        return ()

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Pinball loss of the standardised values, mean over rows and levels."""
        import torch

        short_BK = target_B.float()[:, None] - scores_BK.float()
        # One level at a time, from Python numbers: a tensor of levels would be copied to the device in every step.
        each = [
            torch.maximum(level * short_BK[:, place], (level - 1) * short_BK[:, place]) for place, level in enumerate(self._levels)
        ]
        return torch.stack(each, dim=1).mean()

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """In the number's own unit, float64 (N,): the middle level, then "quantile.<level>" each."""
        sorted_NK = self.figures(scores_NK)
        answers = {"": np.ascontiguousarray(sorted_NK[:, self._middle])}
        for place, level in enumerate(self._levels):
            answers[f"quantile.{level:g}"] = np.ascontiguousarray(sorted_NK[:, place])
        return answers

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Sorted quantiles in the number's own unit, float64 (N, K)."""
        return self._scale.decode(np.sort(scores_NK, axis=1))

    def natural(self, target: np.ndarray) -> np.ndarray:
        """Float64 (N, 1 + K): the number in the unit of the data, and the levels, so that a metric knows them."""
        return self._beside_levels(self._scale.decode(target))

    def truth(self, values: np.ndarray) -> np.ndarray:
        """The same from the data, without the rounding of `encode`."""
        return self._beside_levels(plain(values))

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The middle level, and every level."""
        every = [ColumnSchema(f"quantile.{level:g}", "quantile", "number", "a number") for level in self._levels]
        return (ColumnSchema("", "", "number", "a number"), *every)

    def prior(self, target: np.ndarray) -> np.ndarray:
        """The quantiles of all rows."""
        return np.quantile(target.astype(np.float64), self._levels).astype(np.float32)

    def start(self, target: np.ndarray) -> np.ndarray:
        """The same."""
        return self.prior(target)

    def parts(self) -> tuple[Part, ...]:
        """One problem a level."""
        return tuple(Part("quantile", name=f"{level:g}", level=level) for level in self._levels)

    def targets(self, target: np.ndarray) -> tuple[np.ndarray, ...]:
        """The same numbers for every level."""
        return (target,) * len(self._levels)

    def levels(self) -> tuple[float, ...]:
        """Its own."""
        return self._levels

    def state(self) -> State:
        """Mean and standard deviation."""
        return self._scale.state()

    def restore(self, state: State) -> None:
        """Take over mean and standard deviation."""
        self._scale.restore(state)

    def _beside_levels(self, number_N: np.ndarray) -> np.ndarray:
        return np.column_stack([number_N, np.tile(self._levels, (len(number_N), 1))])

    @property
    def _middle(self) -> int:
        return int(np.argmin(np.abs(np.asarray(self._levels) - 0.5)))
