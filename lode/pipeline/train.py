"""The train stage: fit every candidate, judge it on rows that it never saw, choose, calibrate, set the threshold, keep the models.

Read `lode/pipeline/folds.py` for which rows do what, and `lode/pipeline/choose.py` for how the choice is made.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file, save

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.bootstrap import difference, intervals
from lode.model.calibrate import temperature
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Progress, Task
from lode.model.training import Training
from lode.pipeline import choose
from lode.pipeline.artifact import Model, build, canonical, figures
from lode.pipeline.development import Development, Prepared, outcomes, prepare
from lode.pipeline.folds import cut_stop
from lode.pipeline.state import read_json, write_bytes, write_json
from lode.value.contracts import Policy, money
from lode.value.curve import points, policy_curve

_PARITY_ROWS = 1000
_TIMED_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the train stage needs to know beside the rows: all of it is in the stage's key.

    recipe: see `Model.recipe`, without the family. policy: the value block's policy on the first output, or None.
    """

    model: Component
    training: Training
    recipe: Mapping[str, Any]
    policy: Component | None
    currency: str | None
    device: str
    seed: int


def train(development: Development, held_out: pl.DataFrame, plan: Plan, folder: Path, progress: Progress) -> dict[str, Any]:
    """Fit, choose and keep `folder/models/<family>/`; returns the result for the manifest.

    held_out: test rows, for the parity check only; nothing is learned from them.
    """
    components, allowed = choose.candidates(plan.model)
    scratch = folder / ".scratch"
    trials = {component.type: _Trial(component, development, plan, scratch, progress) for component in components}
    shared: dict[int, Prepared] = {}
    for number in range(len(development.plan.rounds)):
        for trial in trials.values():
            trial.judge(number, shared)
        if development.plan.kind == "out of fold":
            shared.pop(number, None)
    judged = {word: _Judged(trial, development, plan) for word, trial in trials.items()}
    chosen, table = _select(judged, allowed, development, plan)
    results: dict[str, Any] = {}
    final: dict[int, Prepared] = dict(shared)
    for word, trial in trials.items():
        family, prepared = trial.finish(final, refit=word == chosen)
        model = judged[word].model(family, prepared)
        digest = model.save(folder / "models" / word)
        if word == chosen:
            model.keep_parity(held_out.head(_PARITY_ROWS), folder / "models" / word)
        timed = development.frame.head(_TIMED_ROWS)
        results[word] = {"hash": digest, "seconds_per_1000": _seconds_per_1000(model, timed), "fits": trial.summary(), "cost": asdict(family.cost())}
    write_json(folder / "choice.json", {"chosen": chosen, "table": table, "judged_by": development.plan.kind, "metric": judged[chosen].metric})
    return {
        "chosen": chosen, "table": table, "judged_by": development.plan.kind, "judged_rows": len(development.plan.judged),
        "metric": judged[chosen].metric, "models": results, "temperatures": judged[chosen].temperatures,
        "policy": None if judged[chosen].policy is None else judged[chosen].policy.state(),
        "profit_curve": judged[chosen].curve,
    }  # fmt: skip


def default_device(word: str) -> str:
    """The device for `train.device: auto`: a GPU where torch sees one."""
    if word != "auto":
        return word
    return "cuda" if torch.cuda.is_available() else "cpu"


class _Trial:
    """One candidate: its rounds, each kept on disk as soon as it is done, so that a killed run goes on where it was."""

    def __init__(self, component: Component, development: Development, plan: Plan, scratch: Path, progress: Progress):
        self.component, self.development, self.plan, self.scratch, self.progress = component, development, plan, scratch, progress
        self.scores: list[dict[str, np.ndarray]] = []
        self.fits: list[dict[str, Any]] = []

    @property
    def word(self) -> str:
        return self.component.type

    def judge(self, number: int, shared: dict[int, Prepared]) -> None:
        """Fit on the round's rows and score the rows it judges; `shared` keeps the round's arrays for the next candidate."""
        folder = self.scratch / f"{self.word}-{number}"
        if not (folder / "fit.json").is_file():
            part = self.development.plan.rounds[number]
            prepared = _prepared(shared, number, self.development, part.fit, self.scratch, self.progress)
            family, fitted, seconds = self._fit(prepared, part.fit, part.stop, folder, None)
            needs = family.needs
            scores = family.predict(_without_targets(prepared.examples(needs, part.judge)))
            (folder / "model").mkdir(parents=True, exist_ok=True)
            family.save(folder / "model")
            write_bytes(folder / "scores.safetensors", save({name: np.ascontiguousarray(array) for name, array in scores.items()}))
            record = {"rounds": fitted.rounds, "history": list(fitted.history), "choices": dict(fitted.choices), "seconds": seconds}
            write_json(folder / "fit.json", {**record, "cost": asdict(family.cost())})
        self.scores.append(load_file(folder / "scores.safetensors"))
        self.fits.append(read_json(folder / "fit.json"))

    def finish(self, shared: dict[int, Prepared], refit: bool) -> tuple[Family, Prepared]:
        """The model to keep. Out of fold: fitted anew on all development rows; holdout: the judged one, refitted on all rows where that is cheap."""
        development = self.development
        whole = np.arange(development.frame.height)
        rounds = [fit["rounds"] for fit in self.fits if fit["rounds"] is not None]
        if development.plan.kind == "out of fold":
            prepared = _prepared(shared, -1, development, whole, None, self.progress)
            family = build({**self.plan.recipe, "family": self.component.to_json()}, prepared.preprocessor, development.tasks)
            if family.loop:
                generator = np.random.default_rng([self.plan.seed, 11])
                classes = development.tasks[development.first].kind == "classes"
                fit, stop = cut_stop(whole, development.targets[development.first], classes, None, generator)
                return self._fit(prepared, fit, stop, self.scratch / f"{self.word}-final", None)[0], prepared
            return self._fit(prepared, whole, None, self.scratch / f"{self.word}-final", _mean(rounds))[0], prepared
        fit = development.plan.rounds[0].fit
        prepared = _prepared(shared, 0, development, fit, self.scratch, self.progress)
        family = build({**self.plan.recipe, "family": self.component.to_json()}, prepared.preprocessor, development.tasks)
        if refit and not family.loop:
            return self._fit(prepared, whole, None, self.scratch / f"{self.word}-final", _mean(rounds))[0], prepared
        family.load(self.scratch / f"{self.word}-0" / "model")
        return family, prepared

    def summary(self) -> list[dict[str, Any]]:
        """Per round: rounds, history, choices, seconds."""
        return self.fits

    def _fit(
        self, prepared: Prepared, fit: np.ndarray, stop: np.ndarray | None, folder: Path, rounds: int | None
    ) -> tuple[Family, Fitted, float]:
        family = build({**self.plan.recipe, "family": self.component.to_json()}, prepared.preprocessor, self.development.tasks)
        (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
        context = Context(
            seed=self.plan.seed, folder=folder / "checkpoint", rounds=rounds, device=self.plan.device, training=self.plan.training,
            progress=self.progress,
        )  # fmt: skip
        begin_s = time.monotonic()
        examples = prepared.examples(family.needs, fit)
        fitted = family.fit(examples, None if stop is None else prepared.examples(family.needs, stop), context)
        return family, fitted, time.monotonic() - begin_s


class _Judged:
    """A candidate's scores on all judged rows, calibrated and turned into decisions, each row by a choice made on other rows."""

    def __init__(self, trial: _Trial, development: Development, plan: Plan):
        self.plan, self.trial = plan, trial
        self.rows = development.plan.judged
        self.scores = {name: np.concatenate([part[name] for part in trial.scores]) for name in development.tasks}
        self.temperatures, crossed = {}, {}
        cross = development.plan.cross_fold
        for name, task in development.tasks.items():
            target = development.targets[name][self.rows]
            self.temperatures[name], per_row = _temperatures(task, self.scores[name], target, cross)
            crossed[name] = per_row
        first = development.first
        self.task, self.truth = development.tasks[first], natural(development.tasks[first], development.targets[first][self.rows])
        self.prediction = figures(self.task, self.scores[first], self.temperatures[first])
        self.crossed = crossed[first]
        self.metric, self.policy, self.worth = self.task.metrics[0], None, None
        self.curve: list[dict[str, float]] = []
        if plan.policy is not None:
            self._value(development, plan.policy)

    def _value(self, development: Development, component: Component) -> None:
        """Fit the policy on all judged rows; value each row under a policy that was fitted on the other folds."""
        frame, cross = development.frame[self.rows], development.plan.cross_fold
        self.policy = _policy(component)
        everything = outcomes(frame, self.policy, self.prediction, self.truth)
        self.policy.fit(everything)
        if type(self.policy).task == "binary":
            self.curve = [{key: float(entry) for key, entry in point.items()} for point in points(policy_curve(self.policy, everything))]
        worth: np.ndarray = np.zeros(len(self.rows), dtype=object)
        for number in np.unique(cross):
            inside = cross == number
            policy = _policy(component)
            policy.fit(_part(everything, ~inside, self.crossed))
            part = _part(everything, inside, self.crossed)
            worth[inside] = policy.worth(policy.act(part.prediction), part)
        self.worth = np.array([float(money(units, self.policy.scale)) for units in worth])
        self.metric = "value per 1,000"

    def model(self, family: Family, prepared: Prepared) -> Model:
        """The fitted family with everything that was chosen for it."""
        recipe = {
            **self.plan.recipe,
            "family": self.trial.component.to_json(),
            "policy": None if self.plan.policy is None else canonical(self.plan.policy.to_json()),
        }
        return Model(
            prepared.preprocessor, family, prepared.development.tasks, recipe, dict(self.temperatures), self.policy, self.plan.currency
        )


def _select(
    judged: Mapping[str, _Judged], allowed: list[str], development: Development, plan: Plan
) -> tuple[str, list[dict[str, Any]]]:
    """Judge all candidates by one figure on the same rows."""
    any_judged = next(iter(judged.values()))
    by_value = any_judged.worth is not None
    higher = by_value or REGISTRIES["metric"].get(any_judged.metric).higher_is_better
    judgements = []
    for word, entry in judged.items():
        if by_value:
            value, low, high = _mean_interval(entry.worth, plan.seed)
        else:
            value, low, high = intervals(entry.metric, entry.crossed, entry.truth, seed=plan.seed)
        judgements.append(choose.Judgement(word, value, low, high, Cost(**entry.trial.fits[-1]["cost"])))
    best = choose.best_of(judgements, allowed, higher)
    differences = {}
    for word, entry in judged.items():
        if word == best:
            continue
        if by_value:
            _, low, high = _mean_interval(entry.worth - judged[best].worth, plan.seed)
        else:
            low, high = difference(entry.metric, entry.crossed, judged[best].crossed, entry.truth, seed=plan.seed)
        differences[word] = (low, high) if higher else (-high, -low)
    return choose.select(judgements, allowed, best, differences)


def natural(task: Task, target: np.ndarray) -> np.ndarray:
    """Encoded targets in the units of `figures`: codes as they are, numbers in the data's units."""
    if task.kind == "classes":
        return target
    return np.asarray(task.decode(target[:, None].astype(np.float32))[""], np.float64)


def _temperatures(task: Task, scores: np.ndarray, target: np.ndarray, cross: np.ndarray) -> tuple[float, np.ndarray]:
    """The temperature for serving, and the figures of each row under a temperature fitted on the other folds."""
    if task.kind == "number":
        return 1.0, figures(task, scores, 1.0)
    chosen = temperature(scores, target)
    per_row = figures(task, scores, 1.0)
    for number in np.unique(cross):
        inside = cross == number
        fold = temperature(scores[~inside], target[~inside])
        per_row[inside] = figures(task, scores[inside], fold)
    return chosen, per_row


def _mean_interval(worth: np.ndarray, seed: int, resamples: int = 1000) -> tuple[float, float, float]:
    """Mean per 1,000 rows with its 95 % bootstrap interval."""
    generator = np.random.default_rng([seed, 13])
    means = np.array([worth[generator.integers(0, len(worth), len(worth))].mean() for _ in range(resamples)]) * 1000
    low, high = np.quantile(means, [0.025, 0.975])
    return float(worth.mean() * 1000), float(low), float(high)


def _part(everything: Any, rows: np.ndarray, prediction: np.ndarray) -> Any:
    columns = {name: values[rows] for name, values in everything.columns.items()}
    return type(everything)(prediction[rows], everything.truth[rows], columns)


def _policy(component: Component) -> Policy:
    policy: Policy = REGISTRIES["policy"].create(component)
    return policy


def _prepared(
    shared: dict[int, Prepared], number: int, development: Development, rows: np.ndarray, scratch: Path | None, progress: Progress
) -> Prepared:
    """The round's preprocessor and arrays, fitted once; on disk where there is one round over many rows."""
    if number not in shared:
        disk = scratch / "arrays" if scratch is not None and development.plan.kind == "holdout" else None
        shared[number] = prepare(development, rows, disk, progress)
    return shared[number]


def _without_targets(examples: Examples) -> Examples:
    return Examples(examples.num_rows, examples.arrays, examples.flat)


def _mean(rounds: list[int]) -> int | None:
    return max(1, round(sum(rounds) / len(rounds))) if rounds else None


def _seconds_per_1000(model: Model, rows: pl.DataFrame) -> float:
    """Measured once, after a warm-up; beside the result, never in a hash."""
    model.scores(rows)
    begin_s = time.perf_counter()
    model.scores(rows)
    return (time.perf_counter() - begin_s) / max(1, rows.height) * 1000
