"""What a fit measures of itself: before it, threads, compiling and the steps that its time allows; during it, how many it allows still.

What it finds is written to `choices.json` before it is used and can be pinned in the file; docs/decisions say why and when it measures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from lode.core.errors import ModelError
from lode.model import memory
from lode.model.choices import Choices
from lode.model.contracts import Context

TrySteps = Callable[[Choices, int], list[float]]
"""Seconds of so many steps under these choices; the state of training is as before afterwards."""

_STEPS, _ROUNDS = 5, 3
# What the rules say stands unless it is clearly slower: a busy neighbour must not change the choice.
_CLEARLY = 0.85
_SPARE = 0.9
"""Of the time given: the rest is for a last look and what comes after it."""
_SETTLED = 0.05
"""Share of the time given after which the fit's own pace says more than the measurement before it."""


def settle(choices: Choices, context: Context, steps_per_epoch: int, try_steps: TrySteps) -> Choices:
    """The choices with nothing left to measure, on disk; where memory does not suffice for a step, with more pieces of each batch.

    Errors: ModelError where it does not suffice for one row; what a step of several processes raised, which start again then.
    """
    while True:
        try:
            return _settled(choices, context, steps_per_epoch, try_steps)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out(error) or not (context.team is None or context.team.is_alone):
                raise
        pieces = memory.more_pieces(choices.batch, choices.accumulate, 1)
        choices = replace(choices, accumulate=pieces)
        context.progress(memory.cut_text(choices.batch, pieces), 0, 1, {"accumulate": pieces})


def _settled(choices: Choices, context: Context, steps_per_epoch: int, try_steps: TrySteps) -> Choices:
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
        most = choices.steps or steps_per_epoch * choices.epochs
        choices = replace(choices, steps=min(steps, most), most_steps=most)
    choices.write(context.folder)
    return choices


def with_look(choices: Choices) -> Choices:
    """Where the time ends before the first look at the stop rows would come: it comes at the end, and reads as much less of them."""
    if not 0 < choices.steps < choices.judge_steps:
        return choices
    rows = math.ceil(choices.judge_rows * choices.steps / choices.judge_steps)
    return replace(choices, judge_steps=choices.steps, judge_rows=rows)


class Pace:
    """How a fit keeps to the time it has. A neighbour may come or go, and a learning rate that falls must reach its end in time.

    deadline_s: what was left when the fit started, as `Context` says it; most_steps: the fit's number of steps may become as large, 0
    where it stays as it is.
    """

    def __init__(self, deadline_s: float | None, most_steps: int, started_s: float) -> None:
        span_s = math.inf if deadline_s is None else deadline_s
        self._most, self._spare_s, self._settled_s = most_steps, (1.0 - _SPARE) * span_s, _SETTLED * span_s
        self._end_s = started_s + span_s
        self._begun_s, self._begun_step = time.monotonic(), 0

    @property
    def left_s(self) -> float:
        """Of the time, below 0 where it is over."""
        return self._end_s - time.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.left_s <= 0

    def resume(self, left_s: float, step: int) -> None:
        """Go on from a checkpoint's step, which had so much time left; who starts the fit again may know that it is less by now."""
        self._end_s = min(self._end_s, time.monotonic() + left_s)
        self._begun_step = step

    def steps(self, step: int, planned: int) -> int:
        """How many the fit will have in all: `planned` until its own pace is known, then what is left of the time allows."""
        took_s = time.monotonic() - self._begun_s
        if not self._most or took_s < self._settled_s or step <= self._begun_step:
            return planned
        more = math.floor(max(0.0, self.left_s - self._spare_s) * (step - self._begun_step) / took_s)
        return min(step + more, self._most)


def _faster(rule: Choices, other: Choices, try_steps: TrySteps) -> Choices:
    """The other one where its fastest step is clearly faster; they take turns, so that a slow moment hits both.

    The fastest of many steps, because whatever else the machine does can only add to it. A first step of each warms up (or compiles).
    """
    seconds: dict[Choices, list[float]] = {rule: [], other: []}
    for _ in range(_ROUNDS):
        seconds[rule] += try_steps(rule, _STEPS)[1:]
        try:
            seconds[other] += try_steps(other, _STEPS)[1:]
        except (RuntimeError, ModelError):
            # No compiler on this machine, one that cannot take the model, or too little memory for it
            return rule
    return other if min(seconds[other]) < _CLEARLY * min(seconds[rule]) else rule


def _all_threads() -> int:
    from lode.model import choices  # a test replaces the function there

    return choices.available_threads()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
