"""What fits, and over how many devices: the largest batch, whether blocks must be computed twice, which sharding (80 % rule)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lode.core.hardware import Device
from lode.model.planning import memory
from lode.model.planning.activations import Step
from lode.model.planning.memory import Keeping, Sharding
from lode.model.shape import Shape

_WORDS: tuple[Sharding, ...] = ("ddp", "fsdp", "tensor")


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to train: rows that go through a device at once, 0 where none does; peak_bytes of one device with the step's own rows."""

    sharding: Sharding
    devices: int
    recompute: bool
    largest_rows: int
    peak_bytes: float
    fits: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "sharding": self.sharding, "devices": self.devices, "recompute": self.recompute, "largest_rows": self.largest_rows,
            "peak_memory_bytes": self.peak_bytes, "fits": self.fits,
        }  # fmt: skip


def ways(shape: Shape, step: Step, keeping: Keeping, device: Device, devices: Sequence[int], base_bytes: float = 0.0) -> list[Fit]:
    """Every sharding over these numbers of devices, with and without blocks computed twice. step.rows: of the whole batch."""
    places = [(count, word) for count in devices for word in (_WORDS if count > 1 else ("alone",)) if _divides(shape, word, count)]
    return [
        _way(shape, replace(step, recompute=twice), replace(keeping, sharding=word, devices=count), device, base_bytes)
        for count, word in places
        for twice in (False, True)
    ]


def _divides(shape: Shape, word: str, count: int) -> bool:
    """Whether so many devices can share it so: heads are not cut."""
    return word != "tensor" or not (shape.groups % count or shape.heads % count)


def best(found: Sequence[Fit]) -> Fit | None:
    """The simplest that holds the batch: fewer devices first, nothing computed twice, plain data parallel before sharded weights."""
    order = {word: place for place, word in enumerate(("alone", *_WORDS))}
    fitting = [way for way in found if way.fits]
    return min(fitting, key=lambda way: (way.devices, way.recompute, order[way.sharding]), default=None)


def _way(shape: Shape, step: Step, keeping: Keeping, device: Device, base_bytes: float) -> Fit:
    rows = step.rows if keeping.sharding == "tensor" else -(-step.rows // keeping.devices)
    own = memory.training(shape, replace(step, rows=rows), keeping, base_bytes)
    largest = memory.largest_rows(shape, step, keeping, device.memory_bytes, base_bytes)
    fits = memory.fits(own, device.memory_bytes)
    return Fit(keeping.sharding, keeping.devices, step.recompute, largest, own.total_bytes, fits)
