"""Choosing among candidates: by value where the file has a `value:` block, else by the task's first metric.

Recommended is the cheapest candidate whose paired 95 % interval of the difference to the best one reaches zero.
`lode/pipeline/portfolio.py` says which candidates there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.errors import SpecError
from lode.core.types import FamilySpec, Range
from lode.model.contracts import Cost


@dataclass(frozen=True, kw_only=True)
class Auto:
    """`model: auto`: baselines, networks, trees of several settings and an ensemble of them, judged on rows that none of them saw.

    Args:
        candidates: families that are tried and may be packaged; left open, by the data, and by whether there is a `train.budget`.
        choose: what is packaged: the "cheapest" candidate whose interval reaches the best one, or the "best": the ensemble,
            unless a single candidate is surely better.
        ensemble: whether the greedy ensemble of the candidates is one of them.
        rounds: candidate -> on how many folds it is fitted, instead of what a budget allows; a run with a budget records what fitted
            (`fitted` in the result of `lode train --json`), and with that here another run repeats it.
        refit: whether one more fit on all rows makes the model that is packaged, where folds judged it; within a budget it is made if
            the time suffices, which is recorded too (`refitted`).
    """

    candidates: list[FamilySpec] | None = None
    choose: Literal["cheapest", "best"] = "cheapest"
    ensemble: bool = True
    rounds: dict[str, Annotated[int, Range(1)]] | None = None
    refit: bool = True


@dataclass(frozen=True, kw_only=True)
class Ensembling:
    """`model: ensemble`: several families that answer as one, packaged as one.

    Args:
        members: families that take part, each with options of its own if it has any.
        method: "greedy" weights (Caruana 2004) and "stacking" (a linear model over the members' scores) are found on rows that the
            members did not see; "bagging" and "voting" weigh them alike.
        folds: into how many parts the rows are cut: each member is fitted on all but one of them in turn, and answers with the mean
            of these models. With "voting" the folds only judge, and each member is one model, fitted on all rows.
        refit: so many models of each network (one of each other member) are fitted on all rows once the folds have judged, each with a
            seed of its own, and answer instead of the folds' models, which miss a fifth of the rows and more (Lakshminarayanan 2017,
            arXiv 1612.01474); they train for as many epochs as the folds' models did on average. 0 for none.
    """

    members: list[FamilySpec]
    method: Literal["greedy", "voting", "bagging", "stacking"] = "greedy"
    folds: Annotated[int, Range(2, 20)] = 5
    refit: Annotated[int, Range(0, 50)] = 0

    def __post_init__(self) -> None:
        if not self.members:
            raise SpecError("model.members: found an empty list, allowed: one family or more.")


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
    judgements: Sequence[Judgement],
    allowed: Sequence[str],
    best: str,
    differences: Mapping[str, tuple[float, float]],
    *,
    package_best: bool = False,
    above: str | None = None,
    out: Mapping[str, str] | None = None,
) -> tuple[str, list[dict[str, Any]]]:
    """The word to package, and the table of reasons.

    differences: per word, the paired 95 % interval of (candidate - best), better counted positive. package_best: the file says
    `choose: best`; the table still marks the cheapest that reaches it as recommended. above: a single candidate with a higher score than
    `best`, which is an ensemble and not surely below it. out: why words that the file allows are not among `allowed`.
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
    cheapest = min(reaching, key=lambda row: (row["flops_per_row"], row["parameters"]))
    chosen = next(row for row in reaching if row["candidate"] == best) if package_best else cheapest
    for row in table:
        row["chosen"], row["recommended"] = row is chosen, row is cheapest
        row["reason"] = _reason(row, best, str(cheapest["candidate"]), len(allowed) == 1 and not out, out or {})
        if above is not None and row["chosen"]:
            row["reason"] = f"not surely below {above}, and the mean of several errs less on new rows"
    return str(chosen["candidate"]), table


def _reason(row: Mapping[str, Any], best: str, chosen: str, named: bool, out: Mapping[str, str]) -> str:
    word = row["candidate"]
    if row["chosen"]:
        if named:
            return "named in the file"
        if word == best:
            return "best" if row["recommended"] else f"best, as the file asks; {chosen} reaches it and costs less"
        return f"cheapest whose interval reaches the best ({best})"
    if not row["allowed"]:
        return out.get(str(word), "baseline" if named else "not among model.candidates")
    if row["recommended"]:
        return f"recommended: cheapest whose interval reaches the best ({best})"
    if row["reaches_best"]:
        return (
            f"reaches the best, but {chosen} costs less"
            if word != best
            else f"best, but not surely better than {chosen}, which costs less"
        )
    return f"surely worse than {best}"
