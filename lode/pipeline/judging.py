"""Candidates on the judged rows: calibrated, turned into decisions, compared; every row by a choice that was made on other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lode.core.errors import ModelError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.bootstrap import bounds, drawn, draws, figure
from lode.model.calibrate import conformal_shift, shifted, temperature
from lode.model.contracts import Cost, Task
from lode.pipeline import choose
from lode.pipeline.development import Development, outcomes
from lode.pipeline.portfolio import ENSEMBLE
from lode.pipeline.scoring import figures, higher_is_better
from lode.value.contracts import Outcomes, Policy, money
from lode.value.curve import points, policy_curve

VALUE = "value per 1,000"
_RESAMPLES, _FEWEST_RESAMPLES, _DRAWN_ROWS = 1000, 200, 4_000_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes an output's scores hold what they promise. temperature: of probabilities; shift: of quantiles (K,), None without any."""

    temperature: float = 1.0
    shift: np.ndarray | None = None

    @classmethod
    def of(cls, task: Task, scores_NK: np.ndarray, target: np.ndarray) -> Calibration:
        """Fitted on these rows."""
        trials, levels = task.trials(scores_NK, target), task.levels()
        return cls(
            1.0 if trials is None else temperature(*trials),
            None if levels is None else conformal_shift(np.sort(scores_NK, axis=1), target, levels),
        )

    def figures(self, task: Task, scores_NK: np.ndarray) -> np.ndarray:
        """What metrics and policies read."""
        return figures(task, shifted(scores_NK, self.shift), self.temperature)


class Judged:
    """One candidate's scores on the judged rows with a known label (M), and what was chosen from them.

    calibrations: output -> temperature or shift for serving. policy: fitted on all judged rows, for serving.
    crossed: figures (M,) or (M, K) of each row under a calibration that was fitted on the other folds.
    worth: money of each row (M,) under a policy that was fitted on the other folds; float, for intervals only.
    """

    def __init__(self, scores: Mapping[str, np.ndarray], development: Development, policy: Component | None):
        """scores: per output (J, K), of the first J judged rows: a candidate that ran out of time has judged some rounds only."""
        first = development.first
        self.task = development.tasks[first]
        judged, fold = development.judged(len(scores[first]))
        known = self.task.known(development.targets[first][judged])
        self.rows, self.fold = judged[known], fold[known]
        self.calibrations: dict[str, Calibration] = {}
        for name, task in development.tasks.items():
            own, target = scores[name], development.targets[name][judged]
            self.calibrations[name] = Calibration.of(task, own, target)
            if name == first:
                self.scores, self.target = own[known], target[known]
        self.truth = self.task.natural(self.target)
        self.crossed = self._cross_calibrated()
        self.metric = self.task.metrics[0]
        self._drawn: dict[tuple[int, int], np.ndarray] = {}
        self.policy: Policy | None = None
        self.worth: np.ndarray | None = None
        self.curve: list[dict[str, float]] = []
        if policy is not None:
            self.metric = VALUE
            self.policy, self.worth = self._valued(development, policy)

    def _cross_calibrated(self) -> np.ndarray:
        found = figures(self.task, self.scores, 1.0)
        if self.task.levels() is None and self.task.trials(self.scores[:0], self.target[:0]) is None:
            return found
        for number in np.unique(self.fold):
            inside = self.fold == number
            fitted = Calibration.of(self.task, self.scores[~inside], self.target[~inside])
            found[inside] = fitted.figures(self.task, self.scores[inside])
        return found

    def _valued(self, development: Development, component: Component) -> tuple[Policy, np.ndarray]:
        """The policy fitted on all judged rows, and each row's money under one that was fitted on the other folds."""
        policy: Policy = REGISTRIES["policy"].create(component)
        prediction = self.calibrations[development.first].figures(self.task, self.scores)
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

    @property
    def temperatures(self) -> dict[str, float]:
        """Output -> temperature for serving; 1.0 where it has no probabilities."""
        return {name: found.temperature for name, found in self.calibrations.items()}

    @property
    def shifts(self) -> dict[str, np.ndarray]:
        """Output -> shift (K,) for serving, of outputs that are quantiles."""
        return {name: found.shift for name, found in self.calibrations.items() if found.shift is not None}

    def interval(self, seed: int) -> tuple[float, float, float]:
        """The figure that selects, with its 95 % interval."""
        if self.worth is not None:
            return _mean_interval(self.worth, seed)
        low, high = bounds(self._resampled(len(self.rows), seed))
        return figure(self.metric, self.crossed, self.truth), low, high

    def gain(self, other: Judged, seed: int) -> tuple[float, float]:
        """Paired 95 % interval of the difference in the figure that selects, better counted positive, on the rows that both judged."""
        if self.worth is not None and other.worth is not None:
            both = min(len(self.worth), len(other.worth))
            return _mean_interval(self.worth[:both] - other.worth[:both], seed)[1:]
        return self.metric_gain(other, seed)

    def metric_gain(self, other: Judged, seed: int) -> tuple[float, float]:
        """The same in the task's first metric."""
        both = min(len(self.rows), len(other.rows))
        low, high = bounds(self._resampled(both, seed) - other._resampled(both, seed))
        return (low, high) if higher_is_better(self.task.metrics[0]) else (-high, -low)

    def _resampled(self, num_rows: int, seed: int) -> np.ndarray:
        """The task's first metric on resamples of the first rows; made once, as every candidate is held against several others."""
        key = num_rows, seed
        if key not in self._drawn:
            self._drawn[key] = drawn(
                self.task.metrics[0], self.crossed[:num_rows], self.truth[:num_rows], resamples_for(num_rows), seed
            )
        return self._drawn[key]


def select(
    judged: Mapping[str, Judged], costs: Mapping[str, Cost], allowed: list[str], seed: int, *, best: bool = False,
    out: Mapping[str, str] | None = None,
) -> tuple[str, list[dict[str, Any]]]:  # fmt: skip
    """The word to package, and the table of reasons (`lode.pipeline.choose`). best: package the best, whatever it costs. out: as there."""
    first = next(iter(judged.values()))
    if len(allowed) > 1 and first.task.kind == "anomaly" and not (first.truth == 1).any():
        raise ModelError(
            f"model: nothing is labelled, so nothing says which of {listed(allowed)} finds anomalies best. Name one of them as `model`, or "
            "name a column of labels as the output, with the `positive` one."
        )
    eligible = _useful(judged, allowed, seed)
    out = {**(out or {}), **{word: "has learnt nothing, others have" for word in allowed if word not in eligible}}
    judgements = [choose.Judgement(word, *entry.interval(seed), costs[word]) for word, entry in judged.items()]
    top = choose.best_of(judgements, eligible, first.worth is not None or higher_is_better(first.task.metrics[0]))
    single = top
    # Of two that these rows cannot tell apart, the mean of several errs less on others.
    if best and ENSEMBLE in eligible and single != ENSEMBLE and judged[ENSEMBLE].gain(judged[single], seed)[1] >= 0:
        top = ENSEMBLE
    differences = {word: entry.gain(judged[top], seed) for word, entry in judged.items() if word != top}
    return choose.select(
        judgements, eligible, top, differences, package_best=best, above=single if single != top else None, out=out
    )


def resamples_for(num_rows: int) -> int:
    """Bootstrap resamples: the interval of many rows is narrow, and fewer draws tell it."""
    return max(_FEWEST_RESAMPLES, min(_RESAMPLES, _DRAWN_ROWS // max(num_rows, 1)))


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
