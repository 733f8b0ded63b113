"""`lode tune`: trials of other options on the same snapshot, judged as the train stage judges, kept in one study that any number of
processes work on and that goes on where it was stopped or killed.

The study is Optuna's (SQLite, `runs/tune/<name>-<hash>/study.db`); what may be tried is in `core.search`, what came of it in
`pipeline/tuned.py`. The test rows are not touched.
"""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from lode.core import spec as specs
from lode.core.check import Finding, check_options, dotted
from lode.core.errors import ModelError, SpecError
from lode.core.registry import REGISTRIES, section
from lode.core.search import Dimension, applied, dimensions
from lode.core.spec_tune import NOTHING
from lode.model.contracts import Progress
from lode.pipeline import judging, trials, workers
from lode.pipeline.fitting import Fitting, policy_of
from lode.pipeline.manifest import hash_json, lock_in_turn
from lode.pipeline.portfolio import Candidate
from lode.pipeline.rows import RowsWork
from lode.pipeline.run import begin
from lode.pipeline.scoring import higher_is_better
from lode.pipeline.tune import Tune

_MAX_GRID = 10_000
_FEWEST_STARTUP, _MOST_STARTUP = 3, 10
"""Random trials before a method learns from them: a third of the study. With ten, a study of ten would be random whatever its method."""


def tune(
    path: Path, *, data: Path | None, runs: Path, changes: Mapping[str, Any], progress: Progress, say: Callable[[str], None]
) -> Study:
    """Do the trials of a file, or what is left of them; returns the study.

    changes: options of `tune:` that stand on the command line. Errors: SpecError, DataError, ModelError where every trial failed.
    """
    study = Study.open(path, data, runs, changes, progress, say)
    study.work_on()
    return study


@dataclass(slots=True)
class Study:
    """One search: its options, its dimensions, its trials."""

    path: Path
    options: Tune
    tree: Mapping[str, Any]
    dimensions: list[Dimension]
    work: RowsWork
    folder: Path
    say: Callable[[str], None]
    kept: optuna.Study
    budget_s: float | None
    _rounds: dict[str, trials.Rounds] = field(default_factory=dict)

    @classmethod
    def open(
        cls, path: Path, data: Path | None, runs: Path, changes: Mapping[str, Any], progress: Progress, say: Callable[[str], None]
    ) -> Study:
        """The study of a file, made or found again."""
        work = begin(path, data, runs, progress, say)
        tree = {name: part for name, part in specs.tree_of(path).items() if name != "tune"}
        options = Tune(**{**work.spec.tune, **changes})
        budget_s = options.budget_s(None if work.spec.value is None else work.spec.value.options)
        found = dimensions(tree, options.search, [])
        if not found:
            raise SpecError(f"{path}:tune.search: {NOTHING}")
        fitting = work.fitting(work.spec)
        what = [fitting.inputs, [asdict(item) for item in found], options.method, options.seed]
        folder = runs / "tune" / f"{work.spec.name}-{hash_json(what)[:8]}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with lock_in_turn(folder, f"lode tune {path}", say):
            study = cls(path, options, tree, found, work, folder, say, _kept(work, folder, options), budget_s)
            study._take_up()
        return study

    def work_on(self) -> None:
        """Trials until there are enough, or the budget is spent."""
        begin_s = time.monotonic()
        self.kept.sampler = self._sampler()
        own = workers.own_folder(self.folder)
        try:
            while (left := self._left()) > 0 and not self._is_spent(begin_s):
                trial = self.kept.ask()
                trial.set_user_attr("process", workers.myself())
                if self._is_surplus(trial):
                    continue
                self._try(trial, own)
                self.say(f"tune: {self._told(self.kept.trials[trial.number], left)}")
        finally:
            self._rounds.clear()
            workers.leave(self.folder)

    @property
    def done(self) -> list[FrozenTrial]:
        """Trials that were judged, given up or refused, in order."""
        return [trial for trial in self.kept.trials if trial.state.is_finished()]

    def _left(self) -> int:
        """Trials still to begin; those of other processes count, one that begins again counts once."""
        known = self.kept.get_trials(deepcopy=False)
        begun = sum(trial.state != TrialState.WAITING for trial in known)
        return self.target - begun + sum(_is_beside(trial) for trial in known)

    def _is_surplus(self, trial: optuna.Trial) -> bool:
        """Whether other processes began enough trials while this one was asked for: then it is none of the study's."""
        before = [entry for entry in self.kept.get_trials(deepcopy=False) if entry.number < trial.number]
        surplus = "once_more" not in trial.user_attrs and sum(not _is_beside(entry) for entry in before) >= self.target
        if surplus:
            trial.set_user_attr("surplus", True)
            self.kept.tell(trial, state=TrialState.FAIL)
        return surplus

    @property
    def target(self) -> int:
        """Trials in all."""
        return len(self._grid()) if self.options.method == "grid" else self.options.trials

    def _is_spent(self, begin_s: float) -> bool:
        """Whether the machine worked on the study for as long as the budget allows: trials side by side count once."""
        if self.budget_s is None:
            return False
        # Of a trial that was interrupted nobody knows when: its end was written by the process that found it.
        ended = [trial for trial in self.done if trial.state != TrialState.FAIL or "refused" in trial.user_attrs]
        spans = sorted((t.datetime_start, t.datetime_complete) for t in ended if t.datetime_start and t.datetime_complete)
        spent, until = 0.0, None
        for start, end in spans:
            start = start if until is None or start > until else until
            spent += max(0.0, (end - start).total_seconds())
            until = end if until is None or end > until else until
        return max(spent, time.monotonic() - begin_s) >= self.budget_s

    def _try(self, trial: optuna.Trial, own: Path) -> None:
        """One trial, told to the study whatever comes of it. own: the folder of this process."""
        try:
            value = self._judge(trial, own)
        except optuna.TrialPruned:
            self.kept.tell(trial, state=TrialState.PRUNED)
        except (ModelError, SpecError) as error:
            # Some combinations make no network, or one that does not train: that is an answer too
            trial.set_user_attr("refused", str(error))
            self.kept.tell(trial, state=TrialState.FAIL)
        except KeyboardInterrupt:
            self._again(self.kept.trials[trial.number])
            raise
        else:
            if math.isnan(value):
                trial.set_user_attr("refused", f"{trial.user_attrs['metric']} is not a number on the rows that judge")
                self.kept.tell(trial, state=TrialState.FAIL)
            else:
                self.kept.tell(trial, value)
        shutil.rmtree(self._scratch(trial), ignore_errors=True)

    def _scratch(self, trial: optuna.Trial) -> Path:
        """Where its fits lie until it is judged: one that begins again finds those that were finished."""
        return self.folder / "trials" / str(trial.user_attrs.get("once_more", trial.number))

    def _judge(self, trial: optuna.Trial, own: Path) -> float:
        """The figure that selects, on rows that the trial's fits never saw."""
        values = self._values(trial)
        trial.set_user_attr("values", [[item.name, value] for item, value in values])
        spec = specs.from_tree(self.path, applied(self.tree, values), self.work.spec.data_folder)
        fitting = self.work.fitting(spec)
        rounds = self._rounds_of(fitting, own)
        development, scratch = rounds.development, self._scratch(trial)
        plan = fitting.plan
        if len(development.plan.rounds) == 1:
            plan = replace(plan, watch=lambda epoch, loss: self._is_poor(trial, epoch, -loss if self._is_upward else loss))
        tried = trials.Trial(Candidate("trial", spec.model), rounds, plan, scratch, self.work.progress)
        begin_s = time.monotonic()
        num_rounds = len(development.plan.rounds)
        for number in range(num_rounds):
            tried.judge(number)
            if number + 1 < num_rounds and not self._gives_up:
                continue  # a figure is a thousand resamples: only who may give up on it needs it before the last fold
            judged = judging.Judged(tried.scores(number + 1), development, plan.policy)
            if num_rounds > 1 and self._gives_up and self._is_poor(trial, number, judged.interval(plan.seed)[0]):
                raise optuna.TrialPruned
        if trial.user_attrs.get("poor"):
            raise optuna.TrialPruned
        score, low, high = judged.interval(plan.seed)
        for name, found in (
            ("metric", judged.metric), ("low", low), ("high", high), ("cost", asdict(tried.cost())),
            ("seconds", round(time.monotonic() - begin_s, 3)),
        ):  # fmt: skip
            trial.set_user_attr(name, found)
        return score

    def _is_poor(self, trial: optuna.Trial, step: int, value: float) -> bool:
        """Whether a method that gives up poor trials gives this one up."""
        if not self._gives_up:
            return False
        trial.report(value, step)
        poor = trial.should_prune()
        if poor:
            trial.set_user_attr("poor", step)
        return poor

    def _values(self, trial: optuna.Trial) -> list[tuple[Dimension, Any]]:
        """What this trial tries: options of a component only where the component was chosen."""
        chosen: list[tuple[Dimension, Any]] = []
        for item in self.dimensions:
            if not item.exists(applied(self.tree, chosen)):
                continue
            if item.choices:
                kept = [_kept_as(item, value) for value in item.choices]
                value: Any = item.choices[kept.index(trial.suggest_categorical(item.name, kept))]
            elif item.whole:
                value = trial.suggest_int(item.name, round(item.low), round(item.high), log=item.log)
            else:
                value = trial.suggest_float(item.name, item.low, item.high, log=item.log)
            chosen.append((item, value))
        return chosen

    def _rounds_of(self, fitting: Fitting, own: Path) -> trials.Rounds:
        """Fitted preprocessors and arrays, shared by all trials that prepare the rows alike."""
        same = {name: part for name, part in fitting.inputs.items() if name not in ("model", "train", "recipe", "policy")}
        key = hash_json([same, fitting.inputs["recipe"]["outputs"]])
        if key not in self._rounds:
            self._rounds[key] = trials.Rounds(fitting.read(), own / key[:8], self.work.progress)
        return self._rounds[key]

    @property
    def _gives_up(self) -> bool:
        """Whether the method ends poor trials early."""
        return self.options.method in ("asha", "hyperband")

    @property
    def _is_upward(self) -> bool:
        return self.kept.direction == optuna.study.StudyDirection.MAXIMIZE

    def _sampler(self) -> optuna.samplers.BaseSampler:
        """Of the method; another process, or the same later, draws other trials."""
        seed = int(hash_json([self.options.seed, len(self.kept.trials), workers.myself() if self._others() else []])[:8], 16)
        if self.options.method in ("random", "grid"):
            return optuna.samplers.RandomSampler(seed=seed)
        startup = min(_MOST_STARTUP, max(_FEWEST_STARTUP, self.target // 3))
        if self.options.method == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        with warnings.catch_warnings():
            # `group` is called experimental; without it options of a component that is not chosen confuse the others
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup
            )

    def _others(self) -> bool:
        return any(trial.state == TrialState.RUNNING for trial in self.kept.trials) or self.options.processes > 1

    def _grid(self) -> list[dict[str, Any]]:
        """Every combination as the study keeps it, those that differ only in options that do not exist counted once.

        Errors: SpecError for too many.
        """
        lists = [item.grid() for item in self.dimensions]
        total = 1
        for values in lists:
            total *= len(values)
        if total > _MAX_GRID:
            raise SpecError(
                f"tune.search: found a grid of {total:,} trials, allowed are {_MAX_GRID:,}. Use method: tpe, or fewer values."
            )
        found: dict[str, dict[str, Any]] = {}
        for combination in product(*lists):
            chosen: list[tuple[Dimension, Any]] = []
            for item, value in zip(self.dimensions, combination, strict=True):
                if item.exists(applied(self.tree, chosen)):
                    chosen.append((item, value))
            entry = {item.name: _kept_as(item, value) for item, value in chosen}
            found.setdefault(hash_json(sorted(entry.items())), entry)
        return list(found.values())

    def _take_up(self) -> None:
        """Trials whose process is gone begin again; a grid is written down once, or what a killed process did not write of it."""
        for trial in self.kept.trials:
            process = trial.user_attrs.get("process")
            # This process begins only now: a trial of the same number on this machine was another one's.
            if trial.state == TrialState.RUNNING and (process == workers.myself() or not workers.is_alive(process)):
                self._again(trial)
        if self.options.method == "grid":
            known = sum(not _is_beside(trial) for trial in self.kept.get_trials(deepcopy=False))
            for values in self._grid()[known:]:
                self.kept.enqueue_trial(values)

    def _again(self, trial: FrozenTrial) -> None:
        """End a trial that was interrupted and put what it tried in line; its finished folds are on disk."""
        with suppress(RuntimeError, ValueError):  # another process was quicker
            self.kept.tell(trial.number, state=TrialState.FAIL)
            values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            self.kept.enqueue_trial(values, user_attrs={"once_more": trial.user_attrs.get("once_more", trial.number)})

    def _told(self, trial: FrozenTrial, left: int) -> str:
        """One line of a finished trial."""
        tried = ", ".join(f"{name} {_short(value)}" for name, value in trial.user_attrs.get("values", ()))
        place = f"trial {self.target - left + 1} of {self.target}"
        if trial.state == TrialState.COMPLETE:
            return f"{place}: {trial.value:.4g} {trial.user_attrs['metric']} ({trial.user_attrs['seconds']:.1f} s): {tried}"
        what = "given up" if trial.state == TrialState.PRUNED else f"refused ({trial.user_attrs.get('refused', 'interrupted')})"
        return f"{place}: {what}: {tried}"


def _kept(work: RowsWork, folder: Path, options: Tune) -> optuna.Study:
    """The study in the folder, made where there is none."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
    return optuna.create_study(
        study_name=work.spec.name, storage=storage, load_if_exists=True, direction=_direction(work), pruner=_pruner(options.method),
        sampler=optuna.samplers.RandomSampler(seed=options.seed),
    )  # fmt: skip


def _kept_as(item: Dimension, value: Any) -> Any:
    """A value as the study holds it: itself, or its place in the list where one of them is no plain word or number."""
    plain = all(isinstance(entry, str | int | float | bool | None) for entry in item.choices)
    return value if plain else item.choices.index(value)


def _is_beside(trial: FrozenTrial) -> bool:
    """Whether a trial does not count: it repeats one that was interrupted, or was one too many."""
    return "once_more" in trial.user_attrs or "surplus" in trial.user_attrs


def _direction(work: RowsWork) -> Literal["maximize", "minimize"]:
    """Which way the figure that selects points."""
    snapshot = work.run.manifests["data"].result
    if policy_of(work.spec, snapshot) is not None:
        return "maximize"
    first = snapshot["outputs"][work.spec.outputs[0].name]["type"]
    metrics = REGISTRIES["task"].constant(first, "metrics")
    return "maximize" if higher_is_better(metrics[0]) else "minimize"


def _pruner(method: str) -> optuna.pruners.BasePruner:
    if method == "asha":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.HyperbandPruner() if method == "hyperband" else optuna.pruners.NopPruner()


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the command line held against the signature. Errors: SpecError."""
    findings: list[Finding] = []
    found = check_options(changes, section("tune"), (), findings)
    if findings:
        raise SpecError("\n".join(f"--{dotted(item.key)}: {item.text}" for item in findings))
    return found
