"""Choosing among candidates: by value where the file has a `value:` block, else by the task's first metric.

Packaged is the cheapest candidate whose paired 95 % interval of the difference to the best one reaches zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lode.core.types import Component
from lode.model.contracts import Cost

BASELINES = ("constant", "linear", "trees")
"""Always trained beside the model (promise 5)."""


@dataclass(frozen=True, kw_only=True)
class Auto:
    """`model: auto`: baselines and a network, judged on rows that none of them saw; the cheapest that reaches the best is packaged.

    Args:
        candidates: families that may be packaged.
    """

    candidates: list[str] = ("constant", "linear", "trees", "network")  # type: ignore[assignment]


def candidates(model: Component) -> tuple[list[Component], list[str]]:
    """What is trained, cheapest kind first, and the words that may be packaged."""
    if model.type == "auto":
        words = list(Auto(**model.options).candidates)
        names = [*BASELINES, *(word for word in words if word not in BASELINES)]
        return [Component(word) for word in names], words
    chosen = [Component(word) for word in BASELINES if word != model.type]
    return [*chosen, model], [model.type]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One candidate on the judged rows: the figure that selects with its 95 % interval, and what the candidate costs to run."""

    word: str
    score: float
    low: float
    high: float
    cost: Cost


def best_of(judgements: Sequence[Judgement], allowed: Sequence[str], higher_is_better: bool) -> str:
    """The word with the best score among those that may be packaged; an undefined score is the worst."""
    sign = 1.0 if higher_is_better else -1.0
    eligible = [entry for entry in judgements if entry.word in allowed]
    return max(eligible, key=lambda entry: sign * entry.score if np.isfinite(entry.score) else -np.inf).word


def select(
    judgements: Sequence[Judgement], allowed: Sequence[str], best: str, differences: Mapping[str, tuple[float, float]]
) -> tuple[str, list[dict[str, Any]]]:
    """The word to package, and the table of reasons.

    differences: per word, the paired 95 % interval of (candidate - best), better counted positive.
    """
    table = []
    for entry in judgements:
        low, high = (0.0, 0.0) if entry.word == best else differences[entry.word]
        table.append({
            "candidate": entry.word, "score": entry.score, "low": entry.low, "high": entry.high,
            "difference_low": low, "difference_high": high, "reaches_best": bool(entry.word == best or high >= 0),
            "parameters": entry.cost.parameters, "flops_per_row": entry.cost.flops_per_row, "allowed": entry.word in allowed,
        })  # fmt: skip
    reaching = [row for row in table if row["reaches_best"] and row["allowed"]]
    chosen = min(reaching, key=lambda row: (row["flops_per_row"], row["parameters"]))
    for row in table:
        row["chosen"] = row is chosen
        row["reason"] = _reason(row, best, str(chosen["candidate"]), len(allowed) == 1)
    return str(chosen["candidate"]), table


def _reason(row: Mapping[str, Any], best: str, chosen: str, named: bool) -> str:
    word = row["candidate"]
    if row["chosen"]:
        if named:
            return "named in the file"
        return "best" if word == best else f"cheapest whose interval reaches the best ({best})"
    if not row["allowed"]:
        if named:
            return "baseline"
        return "has learnt nothing, others have" if word == "constant" else "not among model.candidates"
    if row["reaches_best"]:
        return (
            f"reaches the best, but {chosen} costs less"
            if word != best
            else f"best, but not surely better than {chosen}, which costs less"
        )
    return f"surely worse than {best}"
