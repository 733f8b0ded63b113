"""The section `tune:`: how options are searched. `lode/pipeline/study.py` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from lode.core.spec_tune import seconds_bought
from lode.core.types import Range


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How `lode tune` searches for better options. Candidates are judged on validation rows; the test rows are not looked at.

    Args:
        method: tpe (tree of Parzen estimators), gp (Gaussian process), random, grid (every combination), or one that gives up poor trials
            early: asha (successive halving) or hyperband, both with tpe.
        trials: How many to try in all, those of earlier and of parallel runs of the command counted in; a grid has its own number.
        budget: When to stop: a time (30m), or money (5 EUR) at the price value.compute_hour; what runs then is finished.
        processes: How many work on the study side by side on this machine.
        search: What to try, a line each: a list of values, {low: 1, high: 9, log: true}, or nothing where the option proposes bounds
            itself; left open, every option that proposes bounds and that the file leaves open.
        seed: Changes what is tried.
    """

    method: Literal["tpe", "random", "grid", "gp", "hyperband", "asha"] = "tpe"
    trials: Annotated[int, Range(1)] = 30
    budget: str | None = None
    processes: Annotated[int, Range(1, 64)] = 1
    search: dict[str, Any] | None = None
    seed: Annotated[int, Range(0, 4_294_967_295)] = 0

    def budget_s(self, value: Mapping[str, Any] | None) -> float | None:
        """Seconds that the budget buys; None without one. value: options of the value block (currency, compute_hour).

        Errors: SpecError for what is neither time nor money, or for money without its price.
        """
        return None if self.budget is None else seconds_bought(self.budget, value)
