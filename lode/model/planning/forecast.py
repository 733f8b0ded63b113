"""What a fit is expected to take, as one record: from a survey of the job or from formulas, and a device's speed and price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lode.core.hardware import Device
from lode.model.planning import clock
from lode.model.planning.clock import Band
from lode.model.planning.memory import Memory


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one fit on so many equal devices. steps, flops and seconds are those of a fit that nothing ends sooner.

    flops_per_step: all devices together. trial_s: the median of tried steps, None where none was tried. step_s: of one step.
    notes: what was assumed, a sentence each.
    """

    parameters: int
    trained: int
    rows_per_step: int
    steps: int
    flops_per_step: float
    memory: Memory
    precision: str
    device: Device
    step_s: Band
    devices: int = 1
    sharding: str = "alone"
    trial_s: float | None = None
    notes: tuple[str, ...] = field(default=())
    tokens_per_step: int = 0

    @property
    def seconds(self) -> Band:
        return self.step_s.times(float(self.steps))

    def to_json(self) -> dict[str, Any]:
        """Figures under the names of `reconcile.FIGURES`, and what they rest on."""
        return {
            "parameters": self.parameters, "trained": self.trained, "rows_per_step": self.rows_per_step, "steps": self.steps,
            "tokens_per_step": self.tokens_per_step,
            "flops_per_step": self.flops_per_step, "flops": self.flops_per_step * self.steps,
            "peak_memory_bytes": self.memory.total_bytes, "base_memory_bytes": self.memory.base_bytes,
            "memory": dict(self.memory.parts), "precision": self.precision, "hardware": self.device.to_json(),
            "devices": self.devices, "sharding": self.sharding, "step_seconds": self.step_s.to_json(), "seconds": self.seconds.to_json(),
            "money": money_of(self.seconds, self.devices, self.device), "trial_seconds": self.trial_s, "notes": list(self.notes),
        }  # fmt: skip


def step_band(flops: float, device: Device, precision: str, devices: int, trial_s: float | None, factor: float = 1.0) -> Band:
    """Seconds of a step: what a trial measured, else the device's band."""
    if trial_s is not None:
        return clock.measured(trial_s)
    return clock.step_seconds(flops, device, device.precision(precision), devices, factor)


def money_of(seconds: Band, devices: int, device: Device) -> dict[str, Any] | None:
    """What so much time costs, as a band; None where the device has no price."""
    found = [clock.cost(each, devices, device) for each in (seconds.low, seconds.middle, seconds.high)]
    if device.price is None or any(each is None for each in found):
        return None
    low, middle, high = (str(each) for each in found)
    return {"low": float(low), "middle": float(middle), "high": float(high), "currency": device.price.currency}


def with_price(record: Mapping[str, Any], per_hour: Decimal, currency: str) -> dict[str, Any]:
    """A forecast's record with the price of an hour of the machine, where the device itself has none."""
    seconds = record["seconds"]
    money = {name: float(per_hour) * seconds[name] / 3600 for name in ("low", "middle", "high")}
    return {**record, "money": {**money, "currency": currency}}
