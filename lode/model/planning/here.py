"""The machine that plans, measured in under a second: a matrix product at its best, and a copy through memory."""

from __future__ import annotations

import math
import os
import re
import time
from functools import lru_cache

import torch

from lode.core.hardware import HERE, Device, known
from lode.model.throughput import measured_peak

_COPIED_BYTES, _TURNS = 128 << 20, 3
_MFU = {"fp32": (0.20, 0.90), "bf16": (0.10, 0.70), "fp16": (0.10, 0.60)}
"""Seen on processors: small networks reach little of a large product's speed, wide decoders most of it (benchmarks/planner.py)."""


@lru_cache(maxsize=8)
def device(precisions: tuple[str, ...] = ("fp32", "bf16"), with_bandwidth: bool = True) -> Device:
    """This machine: its GPU where torch sees one, else its processor with the threads that torch has now.

    precisions, with_bandwidth: what to measure; a run that only forecasts its time leaves out what it does not need.
    """
    if torch.cuda.is_available():
        return _gpu()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = {word: measured_peak(word) for word in precisions}
    if peak.get("bf16", math.inf) < peak.get("fp32", 0.0):  # without instructions of its own nobody would use it
        del peak["bf16"]
    threads = torch.get_num_threads()
    title = f"this machine, {threads} thread{'s' if threads > 1 else ''}"
    speed = _bandwidth() if with_bandwidth else 0.0
    return Device(HERE, title, float(memory), speed, peak, _MFU, source="measured just now", mfu_source=_SEEN, kind="cpu")


_SEEN = "seen on processors (benchmarks/planner.py); --trial measures it"


def _gpu() -> Device:
    """The table's entry for the GPU where it has one, with the memory that torch sees; else measured."""
    found = torch.cuda.get_device_properties(0)
    for entry in known().values():
        word = entry.title.split()[1] if not entry.name.startswith("rtx") else entry.title.split(maxsplit=1)[1]
        same = re.search(rf"\b{re.escape(word)}\b", found.name) is not None
        if same and abs(found.total_memory - entry.memory_bytes) < 0.15 * entry.memory_bytes:
            return entry
    memory = float(found.total_memory)
    peak = {word: measured_peak(word) for word in ("fp32", "bf16")}
    return Device(HERE, found.name, memory, _bandwidth(), peak, _MFU, source="measured just now", mfu_source=_SEEN)


def _bandwidth() -> float:
    """Bytes a second through memory: each copied byte is read once and written once."""
    place = "cuda" if torch.cuda.is_available() else "cpu"
    source, target = (torch.ones(_COPIED_BYTES // 4, device=place) for _ in range(2))
    seconds = []
    for _ in range(_TURNS):
        start_s = time.perf_counter()
        target.copy_(source)
        float(target[0])
        seconds.append(time.perf_counter() - start_s)
    return 2.0 * _COPIED_BYTES / min(seconds)
