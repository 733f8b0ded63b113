"""The family that the training loop fits: encoders -> fusion -> trunk -> heads. The module is in `lode/model/network.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lode.core.errors import ArtifactError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, Range, TensorSpec
from lode.model import network as modules
from lode.model.batches import Batch, Rows, rows_per_forward
from lode.model.checkpoint import write_bytes
from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.fit import Job, Objective, fit
from lode.model.flops import FlopCounter
from lode.model.training import Training

_FORMAT = 1


class Network(Family):
    """A neural network over every kind of input: one encoder per input, one trunk, one linear head per output.

    Args:
        fusion: How the encoders' vectors become one: concat (side by side) or attention.
        width: Outputs of each layer of the trunk, and of the attention.
        depth: Layers of the trunk; 0 gives the encoders' vectors to the heads.
        dropout: Share of outputs set to 0 in training, after each layer of the trunk; left open, 0.4 for tables, else 0.2.
        norm: Normalisation in the trunk.
        activation: What follows each linear layer of the trunk.
        members: Networks in the trunk that share almost all weights and are averaged (TabM).
    """

    needs = "arrays"
    loop = True

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        fusion: Literal["concat", "attention"] = "concat",
        width: Annotated[int, Range(1)] = 256,
        depth: Annotated[int, Range(0)] = 2,
        dropout: Annotated[float, Range(0, 1, open_high=True)] | None = None,
        norm: Literal["none", "layer", "batch"] = "none",
        activation: Literal["relu", "gelu", "silu"] = "relu",
        members: Annotated[int, Range(1)] = 1,
    ) -> None:
        self._shapes = shapes
        self._tasks = dict(tasks)
        self._options: dict[str, Any] = {
            "fusion": fusion,
            "width": width,
            "depth": depth,
            "dropout": (0.4 if modules.is_table(shapes.inputs) else 0.2) if dropout is None else dropout,
            "norm": norm,
            "activation": activation,
            "members": members,
        }
        self._module: modules.NetworkModule | None = None

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        training = context.training or Training()
        work = Workload(train.num_rows, self._flops_per_row(), self._max_batch(), self._learning_rate())
        choices = Choices.read_or_write(context.folder, decide(training, context, work))
        module = self._build(choices.seed)
        self._start_from_rates(module, train.targets)
        module.to(choices.device)
        forward = torch.compile(module) if training.compile else module
        objective = Objective(list(module.parameters()), lambda batch: self._loss(forward, batch))
        specs = self._shapes.inputs
        job = Job(
            module=module,
            objectives=[objective],
            train=Rows(train, specs, choices.device),
            stop=None if stop is None or context.rounds else Rows(stop, specs, choices.device),
            rows_per_forward=rows_per_forward(list(specs.values())),
            augment=self._augment(),
            layer_name=module.layer_name,
        )
        fitted = fit(job, choices, training, context)
        self._module = module.to("cpu")
        return fitted

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Scores per output, float32 (N, K), in forward passes of a fixed shape."""
        module = self._fitted()
        scores = {name: np.empty((examples.num_rows, size), np.float32) for name, size in self._outputs().items()}
        rows = Rows(examples, self._shapes.inputs, "cpu")
        size = rows_per_forward(list(self._shapes.inputs.values()))
        with torch.inference_mode():
            for start in range(0, examples.num_rows, size):
                index = np.arange(start, min(start + size, examples.num_rows))
                for batch in rows.batches(index, size):
                    for name, tensor in module(batch.inputs).items():
                        scores[name][index] = tensor.numpy()
        return scores

    def cost(self) -> Cost:
        module = self._module or self._build(0)
        numbers = sum(parameter.numel() for parameter in module.parameters())
        tensors = module.state_dict().values()
        return Cost(numbers, self._flops_per_row(), sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    def save(self, folder: Path) -> None:
        module = self._fitted()
        tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
        record = {
            "format": _FORMAT,
            "options": self._options,
            "inputs": {name: spec.to_json() for name, spec in self._shapes.inputs.items()},
            "groups": [
                {"inputs": list(group.inputs), "encoder": REGISTRIES["encoder"].resolve(group.encoder)} for group in module.groups
            ],
            "outputs": [{"name": name, "scores": size} for name, size in self._outputs().items()],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "network.safetensors", save_tensors(tensors))
        text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_bytes(folder / "network.json", text.encode())

    def load(self, folder: Path) -> None:
        """Rebuilds the module from the file's own options, so that later defaults change nothing."""
        path = folder / "network.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            tensors = load_tensors((folder / "network.safetensors").read_bytes())
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError(f"{folder}: no readable network here ({error}). Package or train it again.") from error
        if record.get("format") != _FORMAT:
            raise ArtifactError(
                f"{path}: found format {record.get('format')}, allowed is {_FORMAT}. Use the version of lode that wrote it."
            )
        specs = {name: TensorSpec.from_json(spec) for name, spec in record["inputs"].items()}
        ordered = {name: specs[name] for group in record["groups"] for name in group["inputs"]}
        groups = [modules.Group(tuple(group["inputs"]), Component.from_json(group["encoder"])) for group in record["groups"]]
        self._options = record["options"]
        self._shapes = Shapes(ordered, self._shapes.flat, self._shapes.encoders, self._shapes.augments)
        module = self._build(0, groups, {entry["name"]: entry["scores"] for entry in record["outputs"]})
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            raise ArtifactError(
                f"{folder}: network.safetensors does not fit network.json ({error}). Package or train it again."
            ) from error
        self._module = module.eval()

    def _build(
        self, seed: int, groups: list[modules.Group] | None = None, outputs: Mapping[str, int] | None = None
    ) -> modules.NetworkModule:
        """A module with its first weights, drawn from `seed` and from nothing else."""
        chosen = groups or modules.group_inputs(self._shapes.inputs, self._shapes.encoders)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return modules.NetworkModule(self._shapes.inputs, chosen, outputs or self._outputs(), **self._options)

    def _outputs(self) -> dict[str, int]:
        return {name: task.num_scores for name, task in self._tasks.items()}

    def _fitted(self) -> modules.NetworkModule:
        assert self._module is not None, "fit or load comes first"
        return self._module

    def _loss(self, forward: Any, batch: Batch) -> torch.Tensor:
        """Sum of the outputs' losses, each over the rows that have a target."""
        scores = forward(batch.inputs)
        total = None
        for name, task in self._tasks.items():
            own, target = scores[name], batch.targets[name]
            if name in batch.keep:
                keep = batch.keep[name]
                if not len(keep):
                    continue
                own = own.view(batch.num_rows, -1).index_select(0, keep).view(-1, own.shape[1])
                target = target.index_select(0, keep)
            if len(own) > len(target):
                target = target.repeat_interleave(len(own) // len(target))
            loss = task.loss(own, target)
            total = loss if total is None else total + loss
        assert total is not None, "rows without any target are left out"
        return total

    def _start_from_rates(self, module: modules.NetworkModule, targets: Mapping[str, np.ndarray]) -> None:
        """The heads' biases start at the log odds of the classes, so that training does not begin by learning the rates."""
        heads: Any = module.heads
        for (name, task), head in zip(self._tasks.items(), heads, strict=True):
            if task.kind != "classes":
                continue
            codes = targets[name][targets[name] >= 0]
            rates = (np.bincount(codes, minlength=max(2, task.num_scores)) + 1.0) / (len(codes) + max(2, task.num_scores))
            start = np.log(rates[1:] / rates[:1]) if task.num_scores == 1 else np.log(rates)
            with torch.no_grad():
                head.bias.copy_(torch.from_numpy(start.astype(np.float32)))

    def _augment(self) -> Any:
        made = modules.build_augments(self._shapes.inputs, self._shapes.augments)
        if not made:
            return None

        def change(batch: Batch, generator: torch.Generator) -> None:
            for name, steps in made.items():
                for step in steps:
                    batch.inputs[name] = step(batch.inputs[name], generator)

        return change

    def _max_batch(self) -> int:
        """Pictures and texts learn more from more steps than from larger ones."""
        return 1024 if modules.is_table(self._shapes.inputs) else 128

    def _learning_rate(self) -> float:
        """Self-attention wants small steps at the start."""
        attends = any(component.type == "transformer" for component in self._shapes.encoders.values())
        return 5e-4 if attends else 2e-3

    def _flops_per_row(self) -> int:
        """Counted on one forward pass of two rows of zeros."""
        module = self._build(0).eval()
        rows = {name: torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype)) for name, spec in self._shapes.inputs.items()}
        with torch.inference_mode(), FlopCounter() as counter:
            module(rows)
        return counter.total // 2
