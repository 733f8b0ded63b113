"""Outputs with scores at every step of one input (a tag a token): which input, and that its rows are as long as the targets.

Shared by the families that learn such outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lode.core.errors import ModelError, listed
from lode.core.types import TensorSpec
from lode.model.contracts import Examples, Task

_MOST_UNEQUAL = 0.05
"""Share of training rows whose text and tags may differ in length: more, and they do not belong together."""


def step_inputs(tasks: Mapping[str, Task], specs: Mapping[str, TensorSpec]) -> dict[str, str]:
    """Output -> input, for every output whose task has steps.

    Errors: ModelError where no input has steps, or several have and none is named.
    """
    ragged = [name for name, spec in specs.items() if spec.ragged == (0,)]
    found = {}
    for name, task in tasks.items():
        if not task.steps:
            continue
        if task.of is not None and task.of in ragged:
            found[name] = task.of
        elif task.of is not None or len(ragged) != 1:
            named = f'"{task.of}"' if task.of is not None else f"{len(ragged)} inputs with steps ({listed(ragged) or 'none'})"
            allowed = listed(ragged) or "a text, a series or a set among the inputs"
            raise ModelError(f"outputs.{name}.of: found {named}, allowed is {allowed}. Name the input whose steps are tagged.")
        else:
            found[name] = ragged[0]
    return found


def check_inputs(steps: Mapping[str, str], tasks: Mapping[str, Task], specs: Mapping[str, TensorSpec]) -> None:
    """Errors: ModelError where every output has steps and an input is left that none of them reads."""
    idle = [name for name in specs if name not in steps.values()]
    if idle and len(steps) == len(tasks):
        raise ModelError(
            f"inputs: {listed(idle)} would be read by no output, as {listed(steps)} look at the steps of {listed(set(steps.values()))} "
            "only. Remove them, or add an output of the whole row."
        )


def check_lengths(train: Examples, steps: Mapping[str, str]) -> None:
    """Errors: ModelError where more than a few rows have another number of steps than of targets."""
    for output, name in steps.items():
        codes = train.arrays[name]
        real = codes != 0 if codes.ndim == 2 else ~np.isnan(codes[:, :, 0])
        num_steps, num_tags = real.sum(axis=1), (train.targets[output] >= 0).sum(axis=1)
        # A text may have been cut to the feature's length, and a tag be one that is not learnt.
        unequal = (num_tags > 0) & (num_steps != num_tags) & (num_steps < codes.shape[1])
        if unequal.mean() > _MOST_UNEQUAL:
            row = int(np.flatnonzero(unequal)[0])
            raise ModelError(
                f"outputs.{output}: {int(unequal.sum()):,} of {len(unequal):,} training rows have another number of tags than {name} has "
                f"tokens (the first: {num_tags[row]} tags, {num_steps[row]} tokens). Cut the text as the tags are: "
                f"`{name}: {{type: text, tokens: space}}`, with a blank between two tokens."
            )
