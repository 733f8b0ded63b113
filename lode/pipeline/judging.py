"""Candidates on the judged rows: calibrated, turned into decisions, compared; every row by a choice that was made on other rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.bootstrap import difference, draws, intervals
from lode.model.calibrate import temperature
from lode.model.contracts import Cost, Task
from lode.pipeline import choose
from lode.pipeline.development import Development, outcomes
from lode.pipeline.scoring import figures, higher_is_better
from lode.value.contracts import Outcomes, Policy, money
from lode.value.curve import points, policy_curve

VALUE = "value per 1,000"
_RESAMPLES = 1000


class Judged:
    """One candidate's scores on the judged rows with a known label (M), and what was chosen from them.

    temperatures: output -> temperature for serving. policy: fitted on all judged rows, for serving.
    crossed: figures (M,) or (M, K) of each row under a temperature that was fitted on the other folds.
    worth: money of each row (M,) under a policy that was fitted on the other folds; float, for intervals only.
    """

    def __init__(self, scores: Sequence[Mapping[str, np.ndarray]], development: Development, policy: Component | None):
        plan, first = development.plan, development.first
        self.task = development.tasks[first]
        known = self.task.known(development.targets[first][plan.judged])
        self.rows, self.fold = plan.judged[known], plan.cross_fold[known]
        self.temperatures: dict[str, float] = {}
        for name, task in development.tasks.items():
            own = np.concatenate([part[name] for part in scores])
            target = development.targets[name][plan.judged]
            self.temperatures[name] = 1.0 if task.kind == "number" else temperature(own, target)
            if name == first:
                self.scores, self.target = own[known], target[known]
        self.truth = natural(self.task, self.target)
        self.crossed = self._cross_calibrated()
        self.metric = self.task.metrics[0]
        self.policy: Policy | None = None
        self.worth: np.ndarray | None = None
        self.curve: list[dict[str, float]] = []
        if policy is not None:
            self.metric = VALUE
            self.policy, self.worth = self._valued(development, policy)

    def _cross_calibrated(self) -> np.ndarray:
        found = figures(self.task, self.scores, 1.0)
        if self.task.kind == "number":
            return found
        for number in np.unique(self.fold):
            inside = self.fold == number
            fitted = temperature(self.scores[~inside], self.target[~inside])
            found[inside] = figures(self.task, self.scores[inside], fitted)
        return found

    def _valued(self, development: Development, component: Component) -> tuple[Policy, np.ndarray]:
        """The policy fitted on all judged rows, and each row's money under one that was fitted on the other folds."""
        policy: Policy = REGISTRIES["policy"].create(component)
        prediction = figures(self.task, self.scores, self.temperatures[development.first])
        everything = outcomes(development.frame[self.rows], policy, prediction, self.truth)
        policy.fit(everything)
        if type(policy).task == "binary":
            curve = points(policy_curve(policy, everything))
            self.curve = [{key: float(entry) for key, entry in point.items()} for point in curve]
        worth = np.zeros(len(self.rows), dtype=object)
        for number in np.unique(self.fold):
            inside = self.fold == number
            crossed: Policy = REGISTRIES["policy"].create(component)
            crossed.fit(_part(everything, ~inside, self.crossed))
            part = _part(everything, inside, self.crossed)
            worth[inside] = crossed.worth(crossed.act(part.prediction), part)
        return policy, np.array([float(money(units, policy.scale)) for units in worth])

    def interval(self, seed: int) -> tuple[float, float, float]:
        """The figure that selects, with its 95 % interval."""
        if self.worth is not None:
            return _mean_interval(self.worth, seed)
        return tuple(intervals(self.metric, self.crossed, self.truth, _RESAMPLES, seed))  # type: ignore[return-value]

    def gain(self, other: Judged, seed: int) -> tuple[float, float]:
        """Paired 95 % interval of the difference in the figure that selects, better counted positive."""
        if self.worth is not None and other.worth is not None:
            return _mean_interval(self.worth - other.worth, seed)[1:]
        return self.metric_gain(other, seed)

    def metric_gain(self, other: Judged, seed: int) -> tuple[float, float]:
        """The same in the task's first metric."""
        low, high = difference(self.task.metrics[0], self.crossed, other.crossed, self.truth, _RESAMPLES, seed)
        return (low, high) if higher_is_better(self.task.metrics[0]) else (-high, -low)


def select(
    judged: Mapping[str, Judged], costs: Mapping[str, Cost], allowed: list[str], seed: int
) -> tuple[str, list[dict[str, Any]]]:
    """The word to package, and the table of reasons (`lode.pipeline.choose`)."""
    first = next(iter(judged.values()))
    eligible = _useful(judged, allowed, seed)
    judgements = [choose.Judgement(word, *entry.interval(seed), costs[word]) for word, entry in judged.items()]
    best = choose.best_of(judgements, eligible, first.worth is not None or higher_is_better(first.task.metrics[0]))
    differences = {word: entry.gain(judged[best], seed) for word, entry in judged.items() if word != best}
    return choose.select(judgements, eligible, best, differences)


def natural(task: Task, target: np.ndarray) -> np.ndarray:
    """Encoded targets in the units of `figures`: codes as they are, numbers in the data's units."""
    if task.kind == "classes":
        return target
    return np.asarray(task.decode(target[:, None].astype(np.float32))[""], np.float64)


def _useful(judged: Mapping[str, Judged], allowed: list[str], seed: int) -> list[str]:
    """`allowed`, without `constant` where another candidate has surely learnt something.

    A constant answer is the simple policies of the value block again; as a product it is worth packaging only where nothing was learnt.
    """
    constant, others = judged.get("constant"), [word for word in allowed if word != "constant"]
    if constant is None or "constant" not in allowed or not others:
        return allowed
    return others if any(judged[word].metric_gain(constant, seed)[0] > 0 for word in others) else allowed


def _mean_interval(worth: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean per 1,000 rows with its 95 % bootstrap interval."""
    means = [float(count @ worth) for count in draws(len(worth), _RESAMPLES, seed)]
    low, high = np.quantile(means, [0.025, 0.975]) * 1000 / len(worth)
    return float(worth.mean() * 1000), float(low), float(high)


def _part(everything: Outcomes, rows: np.ndarray, prediction: np.ndarray) -> Outcomes:
    columns = {name: values[rows] for name, values in everything.columns.items()}
    return Outcomes(prediction[rows], everything.truth[rows], columns)
