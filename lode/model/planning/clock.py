"""Operations to seconds and money. Time = FLOPs / (devices * peak * utilisation): the utilisation is the whole uncertainty.

Without a trial it is a band per device and precision (`lode/core/hardware.toml`), never one number; a trial makes it one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from lode.core.hardware import Device

TRIAL_ERROR = 0.15
"""How far a step may be from the median of a trial's (benchmarks/planner.py)."""


@dataclass(frozen=True, slots=True)
class Band:
    """From where to where a figure lies; `middle` is the geometric mean, or what was measured."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> Band:
        return Band(self.low * factor, self.middle * factor, self.high * factor)

    def holds(self, figure: float) -> bool:
        """Whether a figure lies in it."""
        return self.low <= figure <= self.high

    def to_json(self) -> dict[str, float]:
        return {"low": self.low, "middle": self.middle, "high": self.high}


def step_seconds(flops: float, device: Device, precision: str, devices: int = 1, factor: float = 1.0) -> Band:
    """Of so many operations. factor: share of the utilisation that this kind of model reaches (a mixture of experts reaches less)."""
    low, high = (share * factor for share in device.mfu[precision])
    rate = devices * device.peak[precision]
    return Band(flops / (rate * high), flops / (rate * math.sqrt(low * high)), flops / (rate * low))


def measured(seconds: float) -> Band:
    """What a trial measured, with its error."""
    return Band(seconds * (1.0 - TRIAL_ERROR), seconds, seconds * (1.0 + TRIAL_ERROR))


def utilisation(flops: float, seconds: float, device: Device, precision: str, devices: int = 1) -> float:
    """Share of the peak that was reached (model FLOPs utilisation; PaLM, appendix B)."""
    return flops / (seconds * devices * device.peak[precision])


def cost(seconds: float, devices: int, device: Device) -> Decimal | None:
    """Money for so many seconds on all devices; None where the device has no price."""
    if device.price is None:
        return None
    return (Decimal(seconds) * devices / 3600 * device.price.per_hour).quantize(Decimal("0.0001"))


EXPERTS_FACTOR = 35 / 46
"""A mixture of experts against a dense model of the same operations: nanochat went from 46 to 35 % (dev/LOG.md, January 2026)."""
