"""The plan of a model of rows: the data stage (kept where it is done already), then a look at each job that training would do."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lode.core.hardware import Device
from lode.core.spec import Spec
from lode.model.choices import Choices
from lode.model.contracts import Context, Fitted, Progress
from lode.model.fit import Job
from lode.model.planning import clock
from lode.model.planning.advice import advise
from lode.model.planning.forecast import Forecast, money_of, step_band
from lode.model.planning.memory import Memory
from lode.model.planning.survey import Survey, survey
from lode.model.planning.table import Outlook, linear
from lode.model.training import Training
from lode.pipeline import portfolio
from lode.pipeline.development import Development, Prepared
from lode.pipeline.manifest import anonymous_memory_bytes, lock
from lode.pipeline.member import build
from lode.pipeline.portfolio import Candidate
from lode.pipeline.rows import RowsWork
from lode.pipeline.trials import Plan, Rounds

_TRIAL_STEPS = 20
_SPREAD = 2.5
"""How far trees and linear models may be from their estimate, either way."""


def plan(
    spec: Spec, device: Device, devices: int, trial: bool, runs: Path, data: Path | None, progress: Progress,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """See `lode.pipeline.plan.plan`."""
    with lock(runs, f"lode plan {spec.path}"):
        work = RowsWork(spec, runs, data, progress, say)
        run = work.until("data")
    manifest = run.manifests["data"]
    made = work.fitting(spec)
    development = made.read()
    base = float(anonymous_memory_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        rounds = Rounds(development, Path(scratch), progress)
        tasks = list(development.tasks.values())
        slate = portfolio.slate(
            made.plan.model, tasks, development.is_table, development.frame.height, made.plan.budget_s is not None
        )
        found = [_candidate(part, development, rounds.get(0), made.plan, device, devices, trial, base) for part in slate.candidates]
    fits = len(development.plan.rounds) + 1
    total = clock.Band(*(sum(each["seconds"][word] for each in found) * fits for word in ("low", "middle", "high")))
    result, rows = manifest.result, manifest.result["rows"]
    words = [entry["type"] for entry in result["outputs"].values()]
    advice = advise(rows["train"], [entry["type"] for entry in result["inputs"].values()], words[0] if words else "")
    notes = [f"The data stage took {manifest.seconds:.1f} s" + (" (done before)." if manifest.cached else ", and is done now.")]
    notes.append(
        f"Each candidate is fitted {fits} times at most: {len(development.plan.rounds)} to judge it, once more to package it."
    )
    if made.plan.budget_s is not None:
        notes.append(f"train.budget ends training after {made.plan.budget_s:,.0f} s, whatever stands here.")
    return {
        "kind": "rows", "name": spec.name, "rows": rows, "columns": len(result["inputs"]), "hardware": device.to_json(),
        "devices": devices, "candidates": found, "fits": fits, "seconds": total.to_json(),
        "money": money_of(total, devices, device), "peak_memory_bytes": max(each["peak_memory_bytes"] for each in found),
        "advice": {"family": advice.family, "reason": advice.reason, "rests_on": advice.sure, "others": list(advice.others)},
        "notes": notes,
    }  # fmt: skip


def _candidate(
    part: Candidate,
    development: Development,
    prepared: Prepared,
    plan: Plan,
    device: Device,
    devices: int,
    trial: bool,
    base: float,
) -> dict[str, Any]:
    """One family's forecast, as a record."""
    family = build({**plan.recipe, "family": part.component.to_json()}, prepared.preprocessor, development.tasks)
    first = development.plan.rounds[0]
    if not family.loop:
        outlook = _outlook(family, len(first.fit), prepared, development)
        return {"name": part.name, "estimate": True, **_of_outlook(outlook, device, base)}
    told: list[tuple[Survey, list[float]]] = []

    def look(job: Job, choices: Choices, training: Training, try_steps: Callable[[int], list[float]]) -> Fitted:
        told.append((survey(job, choices, training), try_steps(_TRIAL_STEPS + 1)[1:] if trial else []))
        return Fitted()

    examples = prepared.examples(family.needs, first.fit)
    stop = None if first.stop is None else prepared.examples(family.needs, first.stop)
    training = replace(plan.training, pretrain=None, devices=1)
    family.fit(examples, stop, Context(seed=plan.seed, device="cpu", training=training, survey=look))
    if not told:  # one that hands its job to another loop
        return {"name": part.name, "estimate": True, **_of_outlook(Outlook(family.cost().parameters, 0, 0, 0.0, 0.0), device, base)}
    found, seconds = told[0]
    return {"name": part.name, "estimate": False, **_of_survey(found, seconds, device, devices, base, plan.training.precision)}


def _of_survey(found: Survey, seconds: list[float], device: Device, devices: int, base: float, precision: str) -> dict[str, Any]:
    trial_s = statistics.median(seconds) if seconds else None
    word = found.precision if device.kind == "cpu" else device.precision(precision)
    made = Forecast(
        found.parameters, found.trained, found.rows, found.steps, found.flops,
        Memory(found.memory.parts, found.memory.peak_bytes, base if device.kind == "cpu" else 1e9), word, device,
        step_band(found.flops, device, word if word in device.peak else "fp32", devices, trial_s), devices=devices, trial_s=trial_s,
    )  # fmt: skip
    return made.to_json()


def _outlook(family: Any, rows: int, prepared: Prepared, development: Development) -> Outlook:
    """What a family without a loop says of itself, or the estimate of a linear model."""
    if hasattr(family, "outlook"):
        found: Outlook = family.outlook(rows)
        return found
    columns = 0 if type(family).__name__ == "Constant" else len(prepared.preprocessor.flat_spec.names)
    return linear(rows, columns, sum(task.num_scores for task in development.tasks.values()))


def _of_outlook(outlook: Outlook, device: Device, base: float) -> dict[str, Any]:
    """As a record with the words of a forecast. Processors of all machines are taken for alike."""
    band = clock.Band(outlook.step_s / _SPREAD, outlook.step_s, outlook.step_s * _SPREAD)
    seconds = band.times(float(outlook.steps))
    record: Mapping[str, Any] = {
        "parameters": outlook.parameters, "steps": outlook.steps, "flops_per_row": outlook.flops_per_row,
        "step_seconds": band.to_json(), "seconds": seconds.to_json(), "memory": {"beside the rows": outlook.memory_bytes},
        "peak_memory_bytes": outlook.memory_bytes + base, "base_memory_bytes": base, "money": money_of(seconds, 1, device),
        "trial_seconds": None,
    }  # fmt: skip
    return dict(record)
