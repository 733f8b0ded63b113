"""The train stage: fit every candidate, judge it on rows that it never saw, choose, calibrate, set the threshold, keep the models.

Read `lode/pipeline/folds.py` for which rows do what, `lode/pipeline/portfolio.py` for the candidates, `lode/pipeline/schedule.py` for
what a budget allows, and `lode/pipeline/choose.py` for how the choice is made.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from lode.core.errors import listed
from lode.core.types import Component
from lode.data.preprocess import Preprocessor
from lode.model.contracts import Cost, Family, Progress
from lode.model.pace import ENDED_BY_CLOCK
from lode.pipeline import crossed, judging, portfolio, schedule
from lode.pipeline.artifact import Model, canonical
from lode.pipeline.blend import Blend, blend, can_blend, equal_weights, surely_better
from lode.pipeline.development import Development, Prepared
from lode.pipeline.ensemble import Ensemble
from lode.pipeline.member import Member, total_cost
from lode.pipeline.portfolio import ENSEMBLE, Slate
from lode.pipeline.state import read_json, write_json
from lode.pipeline.trials import Plan, Rounds, Trial, one_lane

__all__ = ["Plan", "default_device", "slate_of", "train"]

_PARITY_ROWS = 1000
_TIMED_ROWS = 1000
_MORE_ROWS = 1.5
"""A fit on all rows may take this much longer than the longest one on a part of them."""


def train(
    development: Development, held_out: pl.DataFrame, plan: Plan, folder: Path, progress: Progress, begun_s: float | None = None,
    slate: Slate | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit, choose and keep `folder/models/<candidate>/`; returns the result for the manifest.

    held_out: test rows, for the parity check only; nothing is learned from them. begun_s: when the stage began, on the monotonic
    clock, if that was before now: a budget is for all of it. slate: the candidates, where they are not those of the plan's model.
    """
    begun_s = time.monotonic() if begun_s is None else begun_s
    return _Stage(development, plan, folder, progress, begun_s, slate or slate_of(development, plan)).result(held_out)


class _Stage:
    """One train stage: what was fitted, what it is worth, what is kept."""

    def __init__(
        self, development: Development, plan: Plan, folder: Path, progress: Progress, begun_s: float, slate: Slate
    ) -> None:  # fmt: skip
        self.development, self.plan, self.folder = development, plan, folder
        self.scratch = scratch = folder / ".scratch"
        self.clock = None if plan.budget_s is None else schedule.Clock(scratch, plan.budget_s, begun_s)
        progress = progress if self.clock is None else self.clock.noting(progress)
        self.refitted: bool | None = None
        self.slate = slate
        self.rounds = Rounds(development, scratch, progress)
        self.hurried = plan.budget_s is not None or self.slate.pinned is not None
        if self.hurried:
            plan = replace(plan, training=one_lane(plan.training))
        trials = {part.name: Trial(part, self.rounds, plan, scratch, progress) for part in self.slate.candidates}
        self.fitted = schedule.fit_all(trials, scratch, self.clock, self.slate)
        self.trials = {name: trials[name] for name in self.fitted}
        self.blend, common = self._blend()
        self.common = common
        # Compared on the same rows: who judged fewer was given up.
        self.full = [name for name, count in self.fitted.items() if count >= common]
        self.judged = {
            name: judging.Judged(trial.scores(min(common, self.fitted[name])), development, plan.policy)
            for name, trial in self.trials.items()
        }
        if self.blend is not None:
            self.judged[ENSEMBLE] = judging.Judged(self.blend.scores, development, plan.policy)

    def result(self, held_out: pl.DataFrame) -> dict[str, Any]:
        """Choose, keep the models, tell."""
        plan, development = self.plan, self.development
        allowed = [name for name in self.slate.allowed if name in self.judged and name in (*self.full, ENSEMBLE)]
        costs = {name: self._cost(name) for name in self.judged}
        most = max(self.fitted[name] for name in self.full)
        out = {
            name: f"judged on {count} of {most} folds only"
            for name, count in self.fitted.items()
            if name in self.slate.allowed and name not in allowed
        }
        chosen, table = judging.select(self.judged, costs, allowed, plan.seed, best=self.slate.best, out=out)
        records: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        for name in self._kept(chosen):
            model = self._model(name, refit=name == chosen)
            digest = model.save(self.folder / "models" / name)
            if name == chosen:
                inputs = {"selection": model.preprocessor.selection, "reduction": model.preprocessor.reduction}
                model.keep_parity(held_out.head(_PARITY_ROWS), self.folder / "models" / name)
            records[name] = self._record(name, model, digest)
        best = self.judged[chosen]
        for row in table:
            if chosen == ENSEMBLE and not row["allowed"] and row["candidate"] in self.slate.members:
                row["reason"] = "member of the ensemble"
            row["seconds_per_1000"] = self._seconds_per_1000(str(row["candidate"]), records)
            row["folds"] = self.fitted.get(str(row["candidate"]))
            if row["candidate"] != ENSEMBLE and "ensemble" in records.get(str(row["candidate"]), {}):
                # No time for one model of all rows: it answers with those of its folds, and costs as many of them.
                row |= {word: records[str(row["candidate"])]["cost"][word] for word in ("parameters", "flops_per_row")}
        return {
            "chosen": chosen, "recommended": next(row["candidate"] for row in table if row["recommended"]), "table": table,
            "judged_by": development.plan.kind, "judged_rows": sum(len(part.judge) for part in development.plan.rounds[: self.common]),
            "metric": best.metric, "models": records, "temperatures": best.temperatures, "fitted": self.fitted,
            "refitted": self.refitted,
            "ensemble": None if self.blend is None else {name: dict(each) for name, each in self.blend.weights.items()},
            "cross_validation": crossed.figures(self.judged, chosen, self.slate, development, plan.seed),
            "policy": None if best.policy is None else best.policy.state(), "profit_curve": best.curve, "notes": self._notes(), **inputs,
        }  # fmt: skip

    def _notes(self) -> list[str]:
        """What the budget left undone."""
        if self.clock is None:
            return []
        missed = [part.name for part in self.slate.candidates if part.name not in self.fitted]
        ended = [
            name
            for name, count in self.fitted.items()
            if any(ENDED_BY_CLOCK in fit["choices"] for fit in self.trials[name].fits(count))
        ]
        notes = [f"train.budget: no time was left for {listed(missed)}."] if missed else []
        return [*notes, f"train.budget: it ended the fits of {listed(ended)}, which more time may make better."] if ended else notes

    def _blend(self) -> tuple[Blend | None, int]:
        """The members together, and on how many rounds all of them were judged.

        A candidate that fewer rounds were enough for joins only where that makes the ensemble surely better on the rows of these rounds.
        """
        names = [name for name in self.slate.members if name in self.fitted]
        if self.slate.method is None or not names or not can_blend(self.development.tasks):
            allowed = [name for name in self.slate.allowed if name in self.fitted]
            return None, max(self.fitted[name] for name in allowed or self.fitted)
        best, common, several = None, 0, False
        for count in sorted({self.fitted[name] for name in names}, reverse=True):
            scores = {name: self.trials[name].scores(count) for name in names if self.fitted[name] >= count}
            found = blend(str(self.slate.method), self.development, scores, self.plan.seed)
            # Who alone was in time for one more fold has not won by it.
            is_more = best is not None and not several and not set(found.names) <= set(best.names)
            if (
                best is None
                or surely_better(found, best, self.development)
                or (is_more and not surely_better(best, found, self.development))
            ):
                best, common, several = found, count, len(scores) > 1
        # One candidate alone is that candidate.
        alone = best is not None and len(best.names) == 1 and self.slate.allowed != (ENSEMBLE,)
        return (None if alone else best), common

    @property
    def _bags(self) -> bool:
        """Whether a candidate answers with the models of its folds: not by time, where all but the last know only what is long past."""
        kind = self.development.plan.kind
        return kind == "out of fold" and self.development.moments is None

    def _cost(self, name: str) -> Cost:
        """What the candidate takes as it would be packaged."""
        if name != ENSEMBLE:
            return self.trials[name].cost()
        assert self.blend is not None, "there is an ensemble only where candidates were put together"
        own = [self.trials[word].cost() for word in self.blend.names for _ in range(self._models_of(word))]
        return total_cost(own if self.blend.meta is None else [*own, self.blend.meta.cost()])

    def _models_of(self, word: str) -> int:
        assert self.blend is not None, "only an ensemble has members"
        if self.slate.models and self._may_refit(self.blend.names):
            return self._fits_again(word)
        return self.fitted[word] if self._bags and self.blend.method != "voting" else 1

    def _fits_again(self, word: str) -> int:
        """How many models of a member are fitted on all rows: chance makes only networks differ much."""
        return self.slate.models if self.trials[word].loop else 1

    def _kept(self, chosen: str) -> list[str]:
        """The chosen one, and what it is compared with on the test rows: without a budget everything that was fitted."""
        others = [name for name in self.trials if not self.hurried or name in portfolio.BASELINES]
        return [*(name for name in others if name != chosen), chosen]

    def _model(self, name: str, refit: bool) -> Model:
        """A candidate as it is kept."""
        if name == ENSEMBLE:
            return self._wrapped(name, None, self._ensemble(refit))
        may = self._may_refit([name]) if refit else not self.hurried
        if self._bags and not may:
            return self._wrapped(name, None, self._bag(name, self.fitted[name]))
        family, prepared = self._alone(name, may, refit)
        return self._wrapped(name, Member(name, self.trials[name].component, 0, family), prepared)

    def _alone(self, name: str, may: bool, refit: bool) -> tuple[Family, Prepared]:
        """One model of a candidate: fitted on all rows, or the one that judged last, which by time knows most."""
        trial, count = self.trials[name], self.fitted[name]
        end_s = None if self.clock is None else time.monotonic() + self.clock.left_s()
        if self.development.plan.kind == "out of fold":
            return trial.refit(count, end_s) if may else trial.judged(count - 1)
        return trial.holdout(refit and may, end_s)

    def _may_refit(self, names: Sequence[str]) -> bool:
        """Whether these are fitted once more on all rows for the model that is packaged.

        Within a budget where that ends in time; written down before it is used, so that a resumed run decides alike.
        """
        path = self.scratch / "refit.json"
        if self.clock is None or not self.slate.refit:
            self.refitted = self.slate.refit
        elif self.refitted is None:
            longest = [max(self.trials[name].seconds(number) for number in range(self.fitted[name])) for name in names]
            in_time = max(1, self.slate.models) * sum(longest) * _MORE_ROWS < self.clock.left_s()
            told = bool(read_json(path)["refit"]) if path.is_file() else in_time
            # Only a loop goes on where it was killed; others begin again, and cut short they would be worse than the folds' models.
            self.refitted = told and (in_time or any(self.trials[name].loop for name in names))
            write_json(path, {"refit": self.refitted})
        return self.refitted

    def _bag(self, name: str, count: int) -> Ensemble:
        """The models of one candidate's folds."""
        trial = self.trials[name]
        members = [Member(name, trial.component, number, trial.load(number)) for number in range(count)]
        preprocessors = [self.rounds.get(number).preprocessor for number in range(count)]
        tasks = self.development.tasks
        return Ensemble("bagging", preprocessors, members, tasks, equal_weights(list(tasks), name), [name])

    def _ensemble(self, refit: bool) -> Ensemble:
        """The fitted members with the weights that were found. refit: for the package; to be timed, any models do."""
        found, tasks = self.blend, self.development.tasks
        assert found is not None, "there is an ensemble only where candidates were put together"
        if refit and self.slate.models and self._may_refit(found.names):
            members, preprocessors = self._all_again(found.names)
        elif self._bags and found.method != "voting":
            places = range(max(self.fitted[name] for name in found.names))
            members = [
                Member(name, self.trials[name].component, number, self.trials[name].load(number))
                for name in found.names
                for number in range(self.fitted[name])
            ]
            preprocessors = [self.rounds.get(place).preprocessor for place in places]
        else:
            members, preprocessors = [], []
            may = refit and self._may_refit(found.names)
            for name in found.names:
                family, prepared = self._alone(name, may, refit)
                if prepared.preprocessor not in preprocessors:
                    preprocessors.append(prepared.preprocessor)
                members.append(Member(name, self.trials[name].component, preprocessors.index(prepared.preprocessor), family))
        return Ensemble(found.method, preprocessors, members, tasks, found.weights, found.names, found.meta)

    def _all_again(self, names: Sequence[str]) -> tuple[list[Member], list[Preprocessor]]:
        """Models of all rows, several of each network, and the one preprocessor that they share. A budget is divided among them."""
        wanted, members = [(name, number) for name in names for number in range(self._fits_again(name))], []
        for place, (name, number) in enumerate(wanted):
            trial, share = self.trials[name], len(wanted) - place
            end_s = None if self.clock is None else time.monotonic() + self.clock.left_s() / share
            members.append(Member(name, trial.component, 0, trial.again(self.fitted[name], number, end_s)))
        return members, [self.rounds.get(-1).preprocessor]

    def _wrapped(self, name: str, member: Member | None, part: Ensemble | Prepared) -> Model:
        """With everything that was chosen for it."""
        judged, plan = self.judged[name], self.plan
        policy = None if plan.policy is None else canonical(plan.policy.to_json())
        made: dict[str, Any] = {"tasks": self.development.tasks, "temperatures": judged.temperatures, "shifts": judged.shifts,
                                "policy": judged.policy, "currency": plan.currency}  # fmt: skip
        if isinstance(part, Ensemble):
            recipe = {**plan.recipe, "family": Component(ENSEMBLE, {"method": part.method}).to_json(), "policy": policy}
            return Model(part.preprocessors[0], None, recipe=recipe, ensemble=part, **made)
        assert member is not None, "a model without an ensemble is one member"
        recipe = {**plan.recipe, "family": member.component.to_json(), "policy": policy}
        return Model(part.preprocessor, member.family, recipe=recipe, **made)

    def _record(self, name: str, model: Model, digest: str) -> dict[str, Any]:
        fits = self.trials[name].fits(self.fitted[name]) if name in self.trials else []
        timed = self.development.frame.head(_TIMED_ROWS)
        found = {"hash": digest, "seconds_per_1000": _seconds_per_1000(model, timed), "fits": fits, "cost": asdict(model.cost())}
        return found if model.ensemble is None else {**found, "ensemble": model.ensemble.to_json()}

    def _seconds_per_1000(self, name: str, records: Mapping[str, Any]) -> float:
        """Measured on what is kept, else on the model of the first fold."""
        if name in records:
            return float(records[name]["seconds_per_1000"])
        if name == ENSEMBLE:
            model = self._wrapped(name, None, self._ensemble(refit=False))
        else:
            trial = self.trials[name]
            model = self._wrapped(name, Member(name, trial.component, 0, trial.load(0)), self.rounds.get(0))
        return _seconds_per_1000(model, self.development.frame.head(_TIMED_ROWS))


def slate_of(development: Development, plan: Plan) -> Slate:
    """The candidates that the plan's model means on these rows."""
    return portfolio.slate(
        plan.model, list(development.tasks.values()), development.is_table, development.frame.height, plan.budget_s is not None
    )


def default_device(word: str) -> str:
    """The device for `train.device: auto`: a GPU where torch sees one."""
    if word != "auto":
        return word
    import torch  # here: `lode data` is over before torch would be loaded

    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds_per_1000(model: Model, rows: pl.DataFrame) -> float:
    """Measured once, after a warm-up; beside the result, never in a hash."""
    model.scores(rows)
    begin_s = time.perf_counter()
    model.scores(rows)
    return (time.perf_counter() - begin_s) / max(1, rows.height) * 1000
