"""The contract of a policy: from predictions and outcomes to money.

Numbers in, exact money out; no torch, no tables, no files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Rows with what the model said and what came true.

    prediction: P(positive) float64 (N,) for decisions between two actions, or a number float64 (N,).
    truth: 0 or 1 int64 (N,), or a number float64 (N,).
    columns: money columns that the policy named, as exact Decimals (object arrays (N,)).
    """

    prediction: np.ndarray
    truth: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


class Policy(ABC):
    """Turns predictions into actions and actions into money.

    `__init__(self, *, ...)`; amounts are Decimal or a column's name.
    """

    task: ClassVar[str]
    """"binary" or "number": which outputs it values."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns that must come with the rows."""

    @abstractmethod
    def fit(self, outcomes: Outcomes) -> None:
        """Choose the action rule that earns most on these rows (a threshold, an order quantity's shift)."""

    @abstractmethod
    def act(self, prediction: np.ndarray) -> np.ndarray:
        """The action for each prediction: 0 or 1 int64 (N,), or a quantity float64 (N,)."""

    @abstractmethod
    def worth(self, action: np.ndarray, outcomes: Outcomes) -> np.ndarray:
        """Exact money of each row under the given actions, in units of 10^-scale of the currency.

        Integers (N,), int64 or object.
        """

    @abstractmethod
    def simple(self, outcomes: Outcomes) -> dict[str, np.ndarray]:
        """Actions (N,) of the simple policies to beat, by name ("treat all", "treat none", "the mean")."""

    @property
    @abstractmethod
    def scale(self) -> int:
        """Decimal places of the integers that `worth` gives."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """JSON of what `fit` chose."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None: ...


def money(units: int, scale: int) -> Decimal:
    """Exact amount of an integer number of 10^-scale units."""
    return Decimal(f"{int(units)}E-{scale}")  # `scaleb` would round to the context's 28 digits
