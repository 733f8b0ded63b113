"""One candidate's fits, round by round; each is kept on disk as soon as it is done, so that a killed run goes on where it was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model import launch
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Progress
from lode.model.training import Training
from lode.pipeline import forecasts
from lode.pipeline.development import Development, Prepared, prepare
from lode.pipeline.folds import cut_stop
from lode.pipeline.member import build, shapes
from lode.pipeline.portfolio import Candidate
from lode.pipeline.state import read_json, write_bytes, write_json


@dataclass(frozen=True, slots=True)
class Plan:
    """What the train stage needs to know beside the rows: all of it is in the stage's key.

    recipe: see `Model.recipe`, without the family. policy: the value block's policy on the first output, or None.
    watch: see `Context`. budget_s: seconds for everything that is fitted, or None. log_folder: where `train.log` writes; it is no part
    of any result.
    """

    model: Component
    training: Training
    recipe: Mapping[str, Any]
    policy: Component | None
    currency: str | None
    device: str
    seed: int
    budget_s: float | None = None
    log_folder: Path | None = None
    watch: Callable[[int, float], bool] | None = None


def one_lane(training: Training) -> Training:
    """With a processor left for the fits that run beside: threads that wait for one that is busy elsewhere are worse than none."""
    return training if training.threads is not None else replace(training, threads=max(1, processors() - 1))


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Rounds:
    """The preprocessor and the arrays of each round, fitted once; two threads may ask."""

    def __init__(self, development: Development, scratch: Path, progress: Progress):
        self.development, self._scratch, self._progress = development, scratch, progress
        self._prepared: dict[int, Prepared] = {}
        self._lock = threading.Lock()

    def get(self, number: int) -> Prepared:
        """A round's, or with -1 that of all development rows. On disk where there is one round over many rows."""
        plan = self.development.plan
        with self._lock:
            if number not in self._prepared:
                rows = np.arange(self.development.frame.height) if number < 0 else plan.rounds[number].fit
                disk = self._scratch / "arrays" if number >= 0 and plan.kind == "holdout" else None
                self._prepared[number] = prepare(self.development, rows, disk, self._progress)
            return self._prepared[number]

    def release(self, number: int) -> None:
        """Let the arrays go and keep the preprocessor."""
        with self._lock:
            if number in self._prepared:
                self._prepared[number].release()


class Trial:
    """A candidate on the rounds of the plan."""

    def __init__(self, candidate: Candidate, rounds: Rounds, plan: Plan, scratch: Path, progress: Progress):
        self.name, self.component = candidate.name, candidate.component
        self.rounds, self.plan, self.scratch, self.progress = rounds, plan, scratch, progress
        self.development = rounds.development
        family = REGISTRIES["family"]
        self.loop = bool(family.constant(self.component.type, "loop"))
        self.aside = bool(family.constant(self.component.type, "aside"))

    def is_done(self, number: int) -> bool:
        """Whether the round is on disk."""
        return (self._folder(number) / "fit.json").is_file()

    def judge(self, number: int, end_s: float | None = None) -> None:
        """Fit on the round's rows and score the rows that it judges. end_s: when the fit should end, on the monotonic clock."""
        if self.is_done(number):
            return
        folder, part, prepared = self._folder(number), self.development.plan.rounds[number], self.rounds.get(number)
        family, fitted, seconds = self._fit(prepared, part.fit, part.stop, folder, None, end_s)
        examples = prepared.examples(family.needs, part.judge)
        scores = family.predict(Examples(examples.num_rows, examples.arrays, examples.flat))
        (folder / "model").mkdir(parents=True, exist_ok=True)
        family.save(folder / "model")
        write_bytes(folder / "scores.safetensors", save({name: np.ascontiguousarray(array) for name, array in scores.items()}))
        record = {"rounds": fitted.rounds, "history": list(fitted.history), "choices": dict(fitted.choices), "seconds": seconds}
        write_json(folder / "fit.json", {**record, "cost": asdict(family.cost()), "forecast": forecasts.read(folder)})

    def fits(self, count: int) -> list[dict[str, Any]]:
        """Of the first rounds: rounds (of boosting, or epochs), history, choices, seconds, cost."""
        return [read_json(self._folder(number) / "fit.json") for number in range(count)]

    def seconds(self, number: int) -> float:
        """What the fit of a round took."""
        return float(read_json(self._folder(number) / "fit.json")["seconds"])

    def scores(self, count: int) -> dict[str, np.ndarray]:
        """Per output, of the rows that the first rounds judged, one round after the other."""
        parts = [load_file(self._folder(number) / "scores.safetensors") for number in range(count)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def cost(self) -> Cost:
        """Of one fitted model."""
        return Cost(**self.fits(1)[0]["cost"])

    def load(self, number: int) -> Family:
        """The model of a round."""
        return self._read(self.rounds.get(number), self._folder(number))

    def refit(self, count: int, end_s: float | None = None) -> tuple[Family, Prepared]:
        """One model fitted on all development rows; those that need stop rows keep an eighth for it. end_s: see `judge`."""
        development, prepared = self.development, self.rounds.get(-1)
        whole, folder = np.arange(development.frame.height), self.scratch / f"{self.name}-final"
        if self.loop:
            generator = np.random.default_rng([self.plan.seed, 11])
            fit, stop = cut_stop(
                whole, development.strata, development.is_classes, development.groups, generator, development.moments
            )
            return self._fit(prepared, fit, stop, folder, None, end_s)[0], prepared
        return self._fit(prepared, whole, None, folder, self._mean_rounds(count), end_s)[0], prepared

    def again(self, count: int, number: int, end_s: float | None = None) -> Family:
        """One of several models that are fitted on all development rows without stop rows, for as many rounds as the folds' fits took.

        number: which one; its seed follows from it. end_s: see `judge`.
        """
        prepared, whole = self.rounds.get(-1), np.arange(self.development.frame.height)
        folder = self.scratch / f"{self.name}-all-{number}"
        if not (folder / "fit.json").is_file():
            rounds, seed = self._mean_rounds(count), self.plan.seed + number
            family, _, seconds = self._fit(prepared, whole, None, folder, rounds, end_s, seed)
            (folder / "model").mkdir(parents=True, exist_ok=True)
            family.save(folder / "model")
            write_json(folder / "fit.json", {"seconds": seconds})
        return self._read(prepared, folder)

    def judged(self, number: int) -> tuple[Family, Prepared]:
        """The model that judged a round."""
        return self.load(number), self.rounds.get(number)

    def holdout(self, refit: bool, end_s: float | None = None) -> tuple[Family, Prepared]:
        """The judged model of a holdout plan, or its refit on all rows where that is cheap. end_s: see `judge`."""
        if refit and not self.loop:
            whole, prepared = np.arange(self.development.frame.height), self.rounds.get(0)
            folder = self.scratch / f"{self.name}-final"
            return self._fit(prepared, whole, None, folder, self._mean_rounds(1), end_s)[0], prepared
        return self.judged(0)

    def _mean_rounds(self, count: int) -> int | None:
        rounds = [fit["rounds"] for fit in self.fits(count) if fit["rounds"] is not None]
        return max(1, round(sum(rounds) / len(rounds))) if rounds else None

    def _folder(self, number: int) -> Path:
        return self.scratch / f"{self.name}-{number}"

    def _read(self, prepared: Prepared, folder: Path) -> Family:
        family = self._build(prepared)
        family.load(folder / "model")
        return family

    def _build(self, prepared: Prepared) -> Family:
        recipe = {**self.plan.recipe, "family": self.component.to_json()}
        return build(recipe, prepared.preprocessor, self.development.tasks)

    def _made(self, prepared: Prepared) -> launch.Made:
        """What another process needs to make the family again."""
        components = {entry["output"]: Component.from_json(entry["task"]) for entry in self.plan.recipe["outputs"]}
        tasks = {name: (components[name], task) for name, task in self.development.tasks.items()}
        return launch.Made(self.component, shapes(self.plan.recipe, prepared.preprocessor), tasks)

    def _fit(
        self, prepared: Prepared, fit: np.ndarray, stop: np.ndarray | None, folder: Path, rounds: int | None,
        end_s: float | None = None, seed: int | None = None,
    ) -> tuple[Family, Fitted, float]:  # fmt: skip
        family = self._build(prepared)
        (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
        context = Context(
            seed=self.plan.seed if seed is None else seed, folder=folder / "checkpoint", rounds=rounds,
            device=self.plan.device, training=self.plan.training,
            progress=self.progress, watch=self.plan.watch, survey=forecasts.before(folder),
            log_folder=None if self.plan.log_folder is None else self.plan.log_folder / folder.name,
        )  # fmt: skip
        begin_s = time.monotonic()
        examples = prepared.examples(family.needs, fit)
        if self.loop and self.plan.training.pretrain is not None:
            context = replace(context, unlabelled=prepared.unlabelled())
        stop_examples = None if stop is None else prepared.examples(family.needs, stop)
        if end_s is not None:  # what is left of the time after the arrays were made
            context = replace(context, deadline_s=max(0.0, end_s - time.monotonic()))
        fitted = launch.fit(family, self._made(prepared), examples, stop_examples, context)
        return family, fitted, time.monotonic() - begin_s
