"""Forecasts of fits, written beside them before they begin, and reconciled with what they took (promise 6).

`before` is what a stage gives a family as `Context.survey`; `reconciled` makes the table of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lode.core.hardware import Device
from lode.model.planning.forecast import Forecast, step_band, with_price
from lode.model.planning.memory import Memory
from lode.model.planning.reconcile import reconcile
from lode.model.training import Training
from lode.pipeline.manifest import anonymous_memory_bytes
from lode.pipeline.state import read_json, write_json

if TYPE_CHECKING:  # they import torch, some seconds; rows that are only cleaned have no need of it
    from lode.model.choices import Choices
    from lode.model.contracts import Fitted
    from lode.model.fit import Job
    from lode.model.planning.survey import Survey

    Look = Callable[[Job, Choices, Training, Callable[[int], list[float]]], Fitted | None]

FILE = "forecast.json"


def before(folder: Path) -> Look:
    """What `Context.survey` is: write what the fit is expected to take into the folder, and let it begin. One that was written
    before a kill stands.
    """

    def look(job: Job, choices: Choices, training: Training, try_steps: Callable[[int], list[float]]) -> None:
        from lode.model.planning.survey import survey

        path = folder / FILE
        if not path.is_file():
            found = survey(job, choices, training)
            _machine(found.precision)  # measured before memory is looked at: what that leaves in the heap is no part of the model
            held = sum(tensor.nbytes for tensor in job.module.state_dict().values())
            base = max(0.0, float(anonymous_memory_bytes() - held))
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, forecast_of(found, base).to_json())

    return look


def forecast_of(found: Survey, base_bytes: float, trial_s: float | None = None) -> Forecast:
    """Of a surveyed job on this machine. base_bytes: what the process holds without the model."""
    precision, device = _machine(found.precision)
    notes = () if trial_s is not None else (f"{_share(device.mfu.get(precision))} of the peak assumed: {device.mfu_source}",)
    return Forecast(
        found.parameters, found.trained, found.rows, found.steps, found.flops,
        Memory(found.memory.parts, found.memory.peak_bytes, base_bytes), found.precision, device,
        step_band(found.flops, device, precision, 1, trial_s), trial_s=trial_s, notes=notes, tokens_per_step=found.tokens,
    )  # fmt: skip


def read(folder: Path) -> dict[str, Any] | None:
    """The forecast that lies in a folder, or None."""
    path = folder / FILE
    return read_json(path) if path.is_file() else None


def reconciled(
    fit: Mapping[str, Any],
    parameters: int,
    peak_memory_bytes: int,
    compute_hour: Decimal | None = None,
    currency: str | None = None,
) -> list[dict[str, Any]]:
    """Forecast against actual of one fit of a train stage's result; no rows where nothing was forecast.

    fit: {"forecast", "seconds", "choices"}. peak_memory_bytes: of the whole stage. compute_hour: what an hour of the machine costs.
    """
    said = fit.get("forecast")
    if not said:
        return []
    seconds, steps = float(fit["seconds"]), int(fit["choices"].get("steps") or 0)
    actual: dict[str, Any] = {"parameters": parameters, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes}
    if steps:
        actual |= {"steps": steps, "flops": said["flops_per_step"] * steps}
    speed = fit["choices"].get("tokens_per_s")
    if speed and said.get("tokens_per_step"):  # of the steps alone; a fit's seconds are mostly its set-up where steps are few
        actual["step_seconds"] = said["tokens_per_step"] / speed
    if compute_hour is not None and currency is not None:
        said = with_price(said, compute_hour, currency)
        actual["money"] = float(compute_hour) * seconds / 3600
    return reconcile(said, actual)


def _machine(precision: str) -> tuple[str, Device]:
    """This machine, measured once, and the precision in which it was."""
    from lode.model.planning import here

    known = precision if precision in ("fp32", "bf16") else "fp32"
    return known, here.device((known,), with_bandwidth=False)


def _share(band: tuple[float, float] | None) -> str:
    return "an unknown share" if band is None else f"{band[0]:.0%} to {band[1]:.0%}"
