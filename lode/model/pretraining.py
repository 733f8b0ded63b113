"""Learning from rows without their labels, before the fit: the contract of the kind `pretrain`, and the stage itself.

The stage moves everything of a network but its heads, by the same loop (`lode/model/fit.py`), in a folder of its own; the fit then goes on
from these weights. It sees the rows that the fit sees and rows without a label, never rows that stop or judge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from lode.core.disk import write_whole
from lode.core.errors import ModelError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import TensorSpec
from lode.model.batches import Batch, Rows
from lode.model.choices import Choices, batch_for
from lode.model.contracts import Context, Examples, Fitted, Shapes
from lode.model.fit import Job, Objective, fit
from lode.model.parallel import Team
from lode.model.training import Training

_WEIGHTS = "encoder.safetensors"
_FOLDER = "pretrain"
_SHARE = 0.5
"""Of the time that a fit has, at most so much goes to pretraining."""


class Pretrain(nn.Module, ABC):
    """A task that rows set by themselves. `__init__(self, specs, width, shapes, *, epochs, ...)`; it may have weights of its own.

    specs: the arrays of the network's inputs. width: D of what the network makes of a row. shapes: for the augmentations of the file.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    """Features whose arrays it can learn from, a literal, for `lode check`."""
    least_rows: ClassVar[int] = 2
    """Rows that a batch needs for the task to make sense."""
    epochs: int
    """Passes over the rows; set in `__init__`."""

    @staticmethod
    @abstractmethod
    def accepts(spec: TensorSpec) -> bool:
        """Whether it can learn from such an array."""

    @abstractmethod
    def change(self, inputs: Mapping[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """What the batch becomes: all that `forward` needs, by any names. All randomness comes from `generator`."""

    @abstractmethod
    def forward(self, network: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean loss over a changed batch. network: has `represent(inputs) -> h_BD`."""


class _Pretrainer(nn.Module):
    """Network and task as one module, so that several processes can share it."""

    def __init__(self, network: nn.Module, task: Pretrain) -> None:
        super().__init__()
        self.network, self.task = network, task

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.task(self.network, batch)


def pretrain(
    network: Any, train: Examples, shapes: Shapes, choices: Choices, training: Training, context: Context
) -> dict[str, Any] | None:
    """Pretrain `network` in place where `train.pretrain` asks for it; what to tell of it.

    Errors: ModelError where the network or an input cannot be pretrained, and those of the loop.
    """
    if training.pretrain is None:
        return None
    team: Team = context.team or Team()
    task = _task(network, shapes, training, choices)
    rows = _together(train, context.unlabelled)
    folder = None if context.folder is None else context.folder / _FOLDER
    done = _read(network, folder, team)
    if done is None:
        own = _choices(choices, task, rows.num_rows, folder, team)
        done = _run(network, task, Rows(rows, shapes.inputs, choices.device), own, training, replace(context, folder=folder))
        if team.is_first:
            _write(network, folder, done)
        team.wait()
    history = [{"epoch": entry["epoch"], "loss": entry["train_loss"]} for entry in done.history]
    labelled = train.num_rows
    return {"type": training.pretrain.type, "rows": rows.num_rows, "unlabelled": rows.num_rows - labelled, "history": history}


def _task(network: Any, shapes: Shapes, training: Training, choices: Choices) -> Pretrain:
    registry: Any = REGISTRIES["pretrain"]
    assert training.pretrain is not None, "asked for"
    word = training.pretrain.type
    if not hasattr(network, "represent"):
        raise ModelError(
            f"train.pretrain: found {word} with a model that has nothing to pretrain. Write model: network, or remove it."
        )
    cls = registry.get(word)
    wrong = [name for name, spec in shapes.inputs.items() if not cls.accepts(spec)]
    if wrong:
        allowed = [each for each in registry.names() if all(registry.get(each).accepts(spec) for spec in shapes.inputs.values())]
        raise ModelError(
            f"train.pretrain: {word} cannot learn from {listed(wrong)}, allowed is {listed(allowed) or 'none for these inputs'}. "
            "Choose another, or leave these inputs out."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(choices.seed + 1)
        made: Pretrain = registry.create(training.pretrain, shapes.inputs, network.width, shapes)
    return made.to(choices.device)


def _together(train: Examples, unlabelled: Examples | None) -> Examples:
    """All rows, without targets."""
    if unlabelled is None or not unlabelled.num_rows:
        return Examples(train.num_rows, train.arrays, None)
    arrays = {name: np.concatenate((array, unlabelled.arrays[name])) for name, array in train.arrays.items()}
    return Examples(train.num_rows + unlabelled.num_rows, arrays, None)


def _choices(choices: Choices, task: Pretrain, num_rows: int, folder: Path | None, team: Team) -> Choices:
    """Those of the fit, but for the rows that there are and the epochs that were asked for; nothing stops it early."""
    batch = min(num_rows, max(choices.batch, batch_for(num_rows), task.least_rows))
    own = replace(
        choices, batch=batch, epochs=task.epochs, patience=0, schedule="cosine", warmup=0.05, ema=None, steps=0,
        most_steps=0, judge_steps=0, judge_rows=0, last_epoch=0, measure=(),
    )  # fmt: skip
    return team.first_before_others(lambda: Choices.read_or_write(folder, own))


def _run(network: Any, task: Pretrain, rows: Rows, choices: Choices, training: Training, context: Context) -> Fitted:
    # The task's own copies of the weights are let go with it, before the fit divides them in its way
    team: Team = context.team or Team()
    team = Team(team.rank, team.size)
    module = _Pretrainer(network, task)
    shared = team.share(module)

    def change(batches: Iterator[list[Batch]], generator: torch.Generator) -> Iterator[list[Batch]]:
        for pieces in batches:
            for piece in pieces:
                piece.inputs = task.change(piece.inputs, generator)
            yield pieces

    def progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        context.progress(what.replace("train", "pretrain", 1), done, total, figures)

    job = Job(
        module=module,
        objectives=[Objective([item for item in module.parameters() if item.requires_grad], lambda batch: shared(batch.inputs))],
        train=rows,
        stop=None,
        augment=change,
        layer_name=lambda name: network.layer_name(name.removeprefix("network.")),
    )
    half_s = None if context.deadline_s is None else _SHARE * context.deadline_s
    own = replace(context, team=team, progress=progress, deadline_s=half_s)
    return fit(job, choices, replace(training, log=None, checkpoint_activations=False), own)


def _write(network: nn.Module, folder: Path | None, fitted: Fitted) -> None:
    if folder is None:
        return
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    steps = torch.tensor([entry["train_loss"] for entry in fitted.history], dtype=torch.float64)
    write_whole(folder / _WEIGHTS, [save({**{f"network.{name}": tensor for name, tensor in tensors.items()}, "losses": steps})])


def _read(network: nn.Module, folder: Path | None, team: Team) -> Fitted | None:
    """The weights of a stage that was done before the fit was killed."""
    found = folder is not None and (folder / _WEIGHTS).exists()
    team.wait()  # nobody may begin, and write, before all have looked
    if folder is None or not found:
        return None
    tensors = load_file(folder / _WEIGHTS)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items() if name != "losses"})
    history = tuple({"epoch": number, "train_loss": loss} for number, loss in enumerate(tensors["losses"].tolist(), 1))
    return Fitted(len(history), history)
