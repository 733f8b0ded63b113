"""The learning rate and the weight decay of a step, as shares of what was chosen. Pure functions of the step's number."""

from __future__ import annotations

import math

from lode.model.choices import Choices

_ONE_CYCLE_START, _ONE_CYCLE_END = 25.0, 1e4


def learning_rate(step: int, steps: int, steps_per_epoch: int, choices: Choices) -> float:
    """Rate of step 0 to steps - 1: linear up to the peak in the first `warmup` share, then what `schedule` says.

    plateau: its drops depend on losses, so the loop multiplies them.
    """
    peak, word = choices.learning_rate, choices.schedule
    if word == "one_cycle":
        return peak * _one_cycle(step, steps, choices.warmup)
    rising = math.ceil(choices.warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    if word in ("step", "exponential"):
        drops = step / (choices.decay_epochs * steps_per_epoch)
        return peak * choices.decay ** (math.floor(drops) if word == "step" else drops)
    done = (step - rising) / max(1, steps - rising)
    if word == "coslog4":
        return peak * 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * done)))
    if word in ("cosine", "linear", "wsd"):
        return peak * (
            choices.final_rate + (1.0 - choices.final_rate) * _falling(word, done, (steps - step) / steps, choices.cooldown)
        )
    return peak


def _falling(word: str, done: float, left: float, cooldown: float) -> float:
    """From 1 to 0. done: share of the steps after the warm-up; left: share of all steps."""
    if word == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if word == "linear":
        return 1.0 - done
    return min(1.0, left / cooldown) if cooldown else 1.0


def decay_share(step: int, steps: int, word: str) -> float:
    """What `decay_schedule` leaves of the weight decay. flat_cos as in RealMLP (Holzmueller 2024, arXiv 2407.04491)."""
    return flat_cos(step / max(1, steps)) if word == "flat_cos" else 1.0


def flat_cos(done: float) -> float:
    """1 in the first half, then a half cosine to 0. done: share of the steps, 0 to 1."""
    return 0.5 * (1.0 + math.cos(math.pi * (max(1.0, 2.0 * done) - 1.0)))


def _one_cycle(step: int, steps: int, rising: float) -> float:
    """Smith 2018, arXiv 1708.07120, as torch's OneCycleLR has it: a half cosine up from 1/25, then one down to almost nothing."""
    top, last = max(rising * steps - 1.0, 0.0), max(steps - 1.0, 1.0)
    low, end = 1.0 / _ONE_CYCLE_START, 1.0 / (_ONE_CYCLE_START * _ONE_CYCLE_END)
    if step <= top and top > 0:
        return 1.0 + (low - 1.0) * 0.5 * (1.0 + math.cos(math.pi * step / top))
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * (step - top) / max(last - top, 1.0)))
