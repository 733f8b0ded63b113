"""What every family that is a torch module does around it: build, fit by the loop, predict, save, load, count.

Families hold a `Neural` and hand it the class of their module; they do not inherit from it. The module gives scores by output and has
`groups`, `heads` (each with a bias), `start_from` and `layer_name`; `lode/model/network.py` is the one to read.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch.nn import functional

from lode.core.disk import write_whole
from lode.core.errors import ArtifactError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model import memory
from lode.model.batches import Batch, Rows, rows_per_forward
from lode.model.blocks import is_image
from lode.model.choices import Choices, Workload, decide, merged
from lode.model.contracts import Context, Cost, Examples, Fitted, Shapes, Task
from lode.model.fit import Job, Objective, fit
from lode.model.flops import FlopCounter
from lode.model.mixing import Changes, output_loss
from lode.model.network import Group, build_augments, group_inputs, is_table
from lode.model.parallel import Team
from lode.model.pretraining import pretrain
from lode.model.stepwise import check_lengths
from lode.model.training import Training
from lode.model.vectors import constant_inputs, examples_with, specs_with

_FORMAT = 1
_RATE = 2e-3
_SAMPLE_ROWS, _SAMPLE_BYTES = 1 << 16, 1 << 25
_FILE, _WEIGHTS = "network.json", "network.safetensors"

Build = Callable[..., Any]
"""build(specs, groups, outputs, **options) -> the module, its first weights drawn from torch's default generator."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a family wants for its module where the user says nothing.

    numbers, codes, texts: the encoders of columns of a table, and of texts, without one of their own; None gives each the default of its
        kind.
    training: `training_defaults` of the family.
    by_rows: the same, from the number of training rows; the fixed ones come first.
    label_smoothing: share of a class target that is given to all classes alike, in training only (Szegedy 2016, arXiv 1512.00567);
        on top of what the task's own option says.
    """

    numbers: Component | None = None
    codes: Component | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    by_rows: Callable[[int], Mapping[str, Any]] | None = None
    label_smoothing: float = 0.0
    texts: Component | None = None


class Neural:
    """A module and its tasks. Same methods as `Family`; `options` are the keyword arguments of `build`, as JSON."""

    def __init__(
        self, shapes: Shapes, tasks: Mapping[str, Task], build: Build, options: Mapping[str, Any], habits: Habits | None = None
    ) -> None:
        self.shapes = shapes
        self.tasks = dict(tasks)
        self.options: dict[str, Any] = dict(options)
        self.habits = habits or Habits()
        self._make = build
        self._module: Any = None

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        started_s, training = time.monotonic(), context.training or Training()
        draft = self.build(0)
        defaults = self._defaults(train.num_rows, draft)
        work = Workload(
            train.num_rows, self._flops_per_row(draft), self._max_batch(), _adam_rate(defaults), defaults,
            pictures=any(map(is_image, self.shapes.inputs.values())),
        )  # fmt: skip
        del draft  # it takes as much memory as the module itself
        team: Team = context.team or Team()
        choices = team.first_before_others(lambda: Choices.read_or_write(context.folder, decide(training, context, work)))
        module = self.build(choices.seed)
        check_lengths(train, self.options.get("steps", {}))
        start_from_rows(module, train, choices.seed)
        start_from_rates(module, self.tasks, train.targets)
        module.to(choices.device)
        learnt = pretrain(module, train, self.shapes, choices, training, context)
        shared = team.share(module)
        objective = Objective(
            [item for item in module.parameters() if item.requires_grad], lambda batch: self._loss(module, shared, batch)
        )
        constant = constant_inputs(module, self.shapes.augments)
        train = examples_with(train, self.shapes.inputs, constant, choices.device, context.progress)
        stop = None if stop is None else examples_with(stop, self.shapes.inputs, constant, choices.device, context.progress)
        specs = specs_with(self.shapes.inputs, constant)
        job = Job(
            module=module,
            objectives=[objective],
            train=Rows(train, specs, choices.device, together(self.tasks, train.targets)),
            stop=None if stop is None or context.rounds else Rows(stop, specs, choices.device, together(self.tasks, stop.targets)),
            rows_per_forward=rows_per_forward(list(specs.values())),
            augment=self._augment(choices.device),
            layer_name=module.layer_name,
            on_progress=getattr(module, "on_progress", None),
        )
        if context.deadline_s is not None:
            context = replace(context, deadline_s=max(0.0, context.deadline_s - (time.monotonic() - started_s)))
        fitted = fit(job, choices, training, context)
        self._module = _settled(team.gathered(module, lambda: self.build(choices.seed)).to("cpu"))
        return fitted if learnt is None else replace(fitted, choices={**fitted.choices, "pretrain": learnt})

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Scores per output, float32 (N, K), in forward passes of a fixed shape; of fewer rows where memory does not suffice."""
        rows = Rows(examples, self.shapes.inputs, "cpu")
        size = rows_per_forward(list(self.shapes.inputs.values()))
        return memory.smaller(size, lambda number: self._scores(examples, rows, number))

    def _scores(self, examples: Examples, rows: Rows, size: int) -> dict[str, np.ndarray]:
        """`predict`, so many rows at a time."""
        module = self.module
        scores = {name: _empty(task, examples.num_rows) for name, task in self.tasks.items()}
        with torch.inference_mode():
            for start in range(0, examples.num_rows, size):
                index = np.arange(start, min(start + size, examples.num_rows))
                for batch in rows.batches(index, size):
                    for name, tensor in module(batch.inputs).items():
                        _put(scores[name], index, tensor.numpy())
        return scores

    @property
    def module(self) -> Any:
        """The fitted module, on the CPU."""
        assert self._module is not None, "fit or load comes first"
        return self._module

    def cost(self) -> Cost:
        module = self._module or self.build(0)
        numbers = sum(parameter.numel() for parameter in module.parameters())
        tensors = module.state_dict().values()
        return Cost(numbers, self._flops_per_row(module), sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    def save(self, folder: Path) -> None:
        module = self.module
        tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
        record = {
            "format": _FORMAT,
            "options": self.options,
            "inputs": {name: spec.to_json() for name, spec in self.shapes.inputs.items()},
            "groups": [
                {"inputs": list(group.inputs), "encoder": encoder.portable(REGISTRIES["encoder"].resolve(group.encoder))}
                for group, encoder in zip(module.groups, module.encoders, strict=True)
            ],
            "outputs": [{"name": name, "scores": size} for name, size in self._outputs().items()],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _WEIGHTS, [save_tensors(tensors)])
        text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_whole(folder / _FILE, [text.encode()])

    def load(self, folder: Path) -> None:
        """Rebuilds the module from the file's own options, so that later defaults change nothing."""
        path = folder / _FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            tensors = load_tensors((folder / _WEIGHTS).read_bytes())
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError(f"{folder}: no readable network here ({error}). Package or train it again.") from error
        if record.get("format") != _FORMAT:
            raise ArtifactError(
                f"{path}: found format {record.get('format')}, allowed is {_FORMAT}. Use the version of lode that wrote it."
            )
        specs = {name: TensorSpec.from_json(spec) for name, spec in record["inputs"].items()}
        ordered = {name: specs[name] for group in record["groups"] for name in group["inputs"]}
        groups = [Group(tuple(group["inputs"]), Component.from_json(group["encoder"])) for group in record["groups"]]
        self.options = record["options"]
        self.shapes = replace(self.shapes, inputs=ordered)
        module = self.build(0, groups, {entry["name"]: entry["scores"] for entry in record["outputs"]})
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            raise ArtifactError(f"{folder}: {_WEIGHTS} does not fit {_FILE} ({error}). Package or train it again.") from error
        self._module = module.eval()

    def build(self, seed: int, groups: Sequence[Group] | None = None, outputs: Mapping[str, int] | None = None) -> Any:
        """A module with its first weights, drawn from `seed` and from nothing else."""
        chosen = groups or self._groups()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._make(self.shapes.inputs, chosen, outputs or self._outputs(), **self.options)

    def _groups(self) -> tuple[Group, ...]:
        habits = self.habits
        return group_inputs(self.shapes.inputs, self.shapes.encoders, habits.numbers, habits.codes, habits.texts)

    def _defaults(self, num_rows: int, module: Any) -> dict[str, Any]:
        """What family and encoders want of `train:`; the family's word comes first."""
        own = [self.habits.training, self.habits.by_rows(num_rows) if self.habits.by_rows else {}]
        return merged([*own, *(encoder.wants() for encoder in module.encoders)])

    def _outputs(self) -> dict[str, int]:
        return {name: task.num_scores for name, task in self.tasks.items()}

    def _loss(self, module: Any, forward: Any, batch: Batch) -> torch.Tensor:
        """Sum of the outputs' losses, each over the rows that have a target. forward: the module, as the processes share it."""
        scores = forward(batch.inputs)
        total = None
        for name, task in self.tasks.items():
            smooth = self.habits.label_smoothing if module.training and task.kind == "classes" else 0.0
            learnt: Any = Smoothed(task, smooth) if smooth else task
            loss = output_loss(learnt, scores[name], batch, name)
            if loss is None and name in batch.balance:
                # Other pieces of the batch have targets, and every piece has the same graph; scores are NaN where there is no step
                loss = 0.0 * scores[name].nan_to_num().sum()
            if loss is None:
                continue
            if name in batch.balance:
                loss = loss * batch.balance[name]
            total = loss if total is None else total + loss
        assert total is not None, "rows without any target are left out"
        return total

    def _augment(self, device: str) -> Changes | None:
        made = build_augments(self.shapes.inputs, self.shapes.augments, self.shapes.words)
        for step in (step for steps in made.values() for step in steps):
            step.to(device)
        return Changes(made) if made else None

    def _max_batch(self) -> int:
        """Pictures and texts learn more from more steps than from larger ones."""
        return 1024 if is_table(self.shapes.inputs) else 128

    def _flops_per_row(self, module: Any) -> int:
        """Counted on one forward pass of two rows of zeros."""
        module.eval()
        rows = {name: torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype)) for name, spec in self.shapes.inputs.items()}
        with torch.inference_mode(), FlopCounter() as counter:
            module(rows)
        return counter.total // 2


class Smoothed:
    """A task whose loss gives a share of every class target to all classes alike."""

    def __init__(self, task: Task, share: float) -> None:
        self.task, self.share = task, share

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """The task's loss, and the cross-entropy to equal probabilities."""
        if scores_BK.shape[1] == 1:
            uniform = functional.softplus(scores_BK).mean() - 0.5 * scores_BK.mean()
        else:
            uniform = -functional.log_softmax(scores_BK, dim=1).mean()
        return (1.0 - self.share) * self.task.loss(scores_BK, target_B) + self.share * uniform


def _settled(module: Any) -> Any:
    """The module, without what only training needed."""
    for encoder in module.encoders:
        encoder.settle()
    return module


def _adam_rate(defaults: Mapping[str, Any]) -> float:
    """What suits the model with adam and adamw, from which other rules' rates follow: what its parts say, else 0.002."""
    by_adam = defaults.get("optimizer", "adamw") in ("adam", "adamw")
    return float(defaults.get("learning_rate", _RATE)) if by_adam else _RATE


def _empty(task: Task, num_rows: int) -> np.ndarray:
    """Room for scores, float32 (N, K), or (N, T, K) with NaN where a row has no step."""
    if task.steps:
        return np.full((num_rows, task.num_steps, task.num_scores), np.nan, np.float32)
    return np.empty((num_rows, task.num_scores), np.float32)


def _put(scores: np.ndarray, index: np.ndarray, found: np.ndarray) -> None:
    """Scores of some rows; a batch is as long as its longest row."""
    if found.ndim == 3:
        steps = min(scores.shape[1], found.shape[1])
        scores[index, :steps] = found[:, :steps]
    else:
        scores[index] = found


def together(tasks: Mapping[str, Task], targets: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int] | None:
    """Which rows a batch keeps side by side: as the first output wants that wants any."""
    for name, task in tasks.items():
        if task.together:
            return task.company(targets[name]), task.together
    return None


def batch_of(num_rows: int) -> int:
    """Rows a step for networks that were made for tables: a power of two from 32 to 256, about 40 steps an epoch where rows are few."""
    return int(min(256, max(32, 2 ** math.floor(math.log2(max(num_rows, 1) / 40 + 1)))))


def start_from_rows(module: Any, train: Examples, seed: int) -> None:
    """Lets the module set what depends on training rows (`start_from`), from a sample spread evenly over the split."""
    names = [name for group in module.groups for name in group.inputs]
    row_bytes = sum(train.arrays[name].nbytes for name in names) / max(train.num_rows, 1)
    rows = int(min(train.num_rows, _SAMPLE_ROWS, max(1, _SAMPLE_BYTES // max(row_bytes, 1.0))))
    index = np.arange(rows) * train.num_rows // max(rows, 1)
    inputs = {name: torch.from_numpy(np.asarray(train.arrays[name][index])) for name in names}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        module.start_from(inputs, train.targets)


def start_from_rates(module: Any, tasks: Mapping[str, Task], targets: Mapping[str, np.ndarray]) -> None:
    """The heads' biases start at the log odds of the classes, so that training does not begin by learning the rates."""
    for (name, task), head in zip(tasks.items(), module.heads, strict=True):
        target = targets[name]
        known = target[task.known(target)]
        start_K = task.start(known) if len(known) else None
        if start_K is not None:
            with torch.no_grad():
                head.bias.copy_(torch.from_numpy(start_K))
