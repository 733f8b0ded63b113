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
from safetensors.numpy import load_file, save

from lode.core.types import Component
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Progress
from lode.model.training import Training
from lode.pipeline import choose, judging
from lode.pipeline.artifact import Model, build, canonical
from lode.pipeline.development import Development, Prepared, prepare
from lode.pipeline.folds import cut_stop
from lode.pipeline.state import read_json, write_bytes, write_json

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
    judged = {word: judging.Judged(trial.scores, development, plan.policy) for word, trial in trials.items()}
    costs = {word: Cost(**trial.fits[-1]["cost"]) for word, trial in trials.items()}
    chosen, table = judging.select(judged, costs, allowed, plan.seed)
    results: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    final: dict[int, Prepared] = dict(shared)
    for word, trial in trials.items():
        family, prepared = trial.finish(final, refit=word == chosen)
        model = _model(judged[word], trial.component, family, prepared, plan)
        digest = model.save(folder / "models" / word)
        if word == chosen:
            inputs = {"selection": prepared.preprocessor.selection, "reduction": prepared.preprocessor.reduction}
            model.keep_parity(held_out.head(_PARITY_ROWS), folder / "models" / word)
        timed = development.frame.head(_TIMED_ROWS)
        results[word] = {
            "hash": digest,
            "seconds_per_1000": _seconds_per_1000(model, timed),
            "fits": trial.summary(),
            "cost": asdict(family.cost()),
        }
    best = judged[chosen]
    return {
        "chosen": chosen, "table": table, "judged_by": development.plan.kind, "judged_rows": len(development.plan.judged),
        "metric": best.metric, "models": results, "temperatures": best.temperatures,
        "policy": None if best.policy is None else best.policy.state(), "profit_curve": best.curve, **inputs,
    }  # fmt: skip


def _model(judged: judging.Judged, component: Component, family: Family, prepared: Prepared, plan: Plan) -> Model:
    """The fitted family with everything that was chosen for it."""
    policy = None if plan.policy is None else canonical(plan.policy.to_json())
    recipe = {**plan.recipe, "family": component.to_json(), "policy": policy}
    tasks, temperatures = prepared.development.tasks, dict(judged.temperatures)
    return Model(prepared.preprocessor, family, tasks, recipe, temperatures, judged.policy, plan.currency)


def default_device(word: str) -> str:
    """The device for `train.device: auto`: a GPU where torch sees one."""
    if word != "auto":
        return word
    import torch  # here: `lode data` is over before torch would be loaded

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
        """The model to keep.

        Out of fold: fitted anew on all development rows. Holdout: the judged one, refitted on all rows where that is cheap.
        """
        development = self.development
        whole = np.arange(development.frame.height)
        rounds = [fit["rounds"] for fit in self.fits if fit["rounds"] is not None]
        if development.plan.kind == "out of fold":
            prepared = _prepared(shared, -1, development, whole, None, self.progress)
            family = build({**self.plan.recipe, "family": self.component.to_json()}, prepared.preprocessor, development.tasks)
            if family.loop:
                generator = np.random.default_rng([self.plan.seed, 11])
                classes = development.tasks[development.first].kind == "classes"
                fit, stop = cut_stop(
                    whole, development.targets[development.first], classes, development.groups, generator, development.moments
                )
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
