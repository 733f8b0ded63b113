"""A short measurement before a long fit: how many threads, whether to compile, how many steps fit into the time that is left.

What it finds is written to `choices.json` before it is used and can be pinned in the file; docs/decisions say why and when it measures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from lode.model.choices import Choices
from lode.model.contracts import Context

TrySteps = Callable[[Choices, int], list[float]]
"""Seconds of so many steps under these choices; the state of training is as before afterwards."""

_STEPS, _ROUNDS = 5, 3
# What the rules say stands unless it is clearly slower: a busy neighbour must not change the choice.
_CLEARLY = 0.85
_SPARE = 0.9


def settle(choices: Choices, context: Context, steps_per_epoch: int, try_steps: TrySteps) -> Choices:
    """The choices with nothing left to measure, on disk."""
    planned = (choices.steps == 0 or "steps" in choices.measure) and context.deadline_s is not None
    if not choices.measure and not planned:
        return choices
    started_s = time.monotonic()
    if "threads" in choices.measure:
        choices = _faster(choices, replace(choices, threads=1 if choices.threads > 1 else _all_threads()), try_steps)
    if "compile" in choices.measure:
        choices = _faster(choices, replace(choices, compile=True), try_steps)
    choices = replace(choices, measure=())
    if planned and context.deadline_s is not None:
        step_s = _median(try_steps(choices, _STEPS)[1:])
        left_s = context.deadline_s - (time.monotonic() - started_s)
        steps = max(1, math.floor(_SPARE * left_s / max(step_s, 1e-9)))
        choices = replace(choices, steps=min(steps, choices.steps or steps_per_epoch * choices.epochs))
    choices.write(context.folder)
    return choices


def _faster(rule: Choices, other: Choices, try_steps: TrySteps) -> Choices:
    """The other one where its fastest step is clearly faster; they take turns, so that a slow moment hits both.

    The fastest of many steps, because whatever else the machine does can only add to it. A first step of each warms up (or compiles).
    """
    seconds: dict[Choices, list[float]] = {rule: [], other: []}
    for _ in range(_ROUNDS):
        seconds[rule] += try_steps(rule, _STEPS)[1:]
        try:
            seconds[other] += try_steps(other, _STEPS)[1:]
        except RuntimeError:  # no compiler on this machine, or one that cannot take the model
            return rule
    return other if min(seconds[other]) < _CLEARLY * min(seconds[rule]) else rule


def _all_threads() -> int:
    from lode.model import choices  # a test replaces the function there

    return choices.available_threads()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
