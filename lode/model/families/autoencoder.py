"""Anomalies by an autoencoder: a network that puts rows together again from a narrow middle, and fails at those it has seldom seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from lode.core.errors import ModelError
from lode.core.types import Range, TensorSpec
from lode.model.batches import Batch, Rows
from lode.model.blocks import Mlp
from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.fit import Job, Objective, fit
from lode.model.rarity import Rarity
from lode.model.training import Training

_FORWARD_ROWS = 1024
_INPUT = "row"


class Autoencoder(Family):
    """Mean squared error of putting a row together again (Hawkins 2002, Outlier detection using replicator neural networks).

    Args:
        width: Outputs of the outer layers.
        middle: Outputs of the middle layer; left open, a quarter of the columns, from 2 to 32.
        noise: Standard deviation of noise on the (standardised) inputs in training, so that copying is no answer.
        dropout: Share of the inputs set to 0 in training.
    """

    kinds = ("anomaly",)
    needs = "flat"
    loop = True

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        width: Annotated[int, Range(1)] = 128,
        middle: Annotated[int, Range(1)] | None = None,
        noise: Annotated[float, Range(0)] = 0.1,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
    ) -> None:
        self._tasks = tuple(tasks)
        self._options: dict[str, Any] = {"width": width, "middle": middle, "noise": noise, "dropout": dropout}
        self._rarity = Rarity(shapes.flat)
        self._module: _Replicator | None = None

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Learn to put the training rows together again. Labels are not looked at.

        Errors: those of the loop; ModelError for rows to pretrain on.
        """
        training = context.training or Training()
        if training.pretrain is not None:
            raise ModelError(
                f"train.pretrain: found {training.pretrain.type} with an autoencoder, which learns from the inputs alone in any case, "
                "allowed is none. Remove it."
            )
        matrix_NX = self._rarity.fit_matrix(train.flat)
        size = matrix_NX.shape[1]
        options = {**self._options, "middle": self._options["middle"] or min(32, max(2, size // 4))}
        flops = 2 * size * options["width"] * 2 + 4 * options["width"] * options["middle"]
        choices = Choices.read_or_write(context.folder, decide(training, context, Workload(len(matrix_NX), flops, 1024, 2e-3)))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(choices.seed)
            module = _Replicator(size, **options)
        module.to(choices.device)
        spec = {_INPUT: TensorSpec("float32", (size,))}
        held = None if stop is None or context.rounds else np.concatenate([*self._rarity.chunks(stop.flat)])
        job = Job(
            module=module,
            objectives=[Objective(list(module.parameters()), lambda batch: _loss(module, batch))],
            train=Rows(_examples(matrix_NX), spec, choices.device),
            stop=None if held is None else Rows(_examples(held), spec, choices.device),
            rows_per_forward=_FORWARD_ROWS,
        )
        fitted = fit(job, choices, training, context)
        self._options, self._module = options, module.to("cpu").eval()
        self._rarity.fit(self._odd(matrix_NX))
        return fitted

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """-log10 of the share of training rows that are as odd."""
        parts = [self._rarity.scores(self._odd(part)) for part in self._rarity.chunks(examples.flat)]
        scores = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
        return {name: scores.copy() for name in self._tasks}

    def cost(self) -> Cost:
        size = sum(parameter.numel() for parameter in self._fitted().parameters())
        return Cost(size, 2 * size, 4 * size)

    def save(self, folder: Path) -> None:
        """Write autoencoder.safetensors and autoencoder.json."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"model.{name}": tensor.detach().contiguous().numpy() for name, tensor in self._fitted().state_dict().items()}
        save_file({**weights, **self._rarity.state()}, folder / "autoencoder.safetensors")
        record = {"format": 1, "columns": self._fitted().size, "options": self._options}
        (folder / "autoencoder.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read them back."""
        record = json.loads((folder / "autoencoder.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "autoencoder.safetensors")
        self._options = record["options"]
        with torch.random.fork_rng(devices=[]):
            module = _Replicator(record["columns"], **self._options)
        weights = {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}
        module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        self._module = module.eval()
        self._rarity.restore(arrays)

    def _fitted(self) -> _Replicator:
        assert self._module is not None, "fit or load comes first"
        return self._module

    def _odd(self, matrix_NX: np.ndarray) -> np.ndarray:
        """The mean squared error of each row, float64 (N,), in forward passes of a fixed shape."""
        module, found = self._fitted(), np.empty(len(matrix_NX))
        with torch.inference_mode():
            for start in range(0, len(matrix_NX), _FORWARD_ROWS):
                x_BX = torch.from_numpy(np.ascontiguousarray(matrix_NX[start : start + _FORWARD_ROWS]))
                found[start : start + _FORWARD_ROWS] = ((module(x_BX) - x_BX) ** 2).double().mean(dim=1).numpy()
        return found


class _Replicator(nn.Module):
    """(B, X) -> (B, X) through a narrow middle."""

    def __init__(self, size: int, *, width: int, middle: int, noise: float, dropout: float) -> None:
        super().__init__()
        layers: dict[Literal["dropout", "norm", "activation"], Any] = {"dropout": 0.0, "norm": "none", "activation": "silu"}
        self.size, self.noise, self.dropout = size, noise, dropout
        self.down = Mlp(size, [width], **layers)
        self.middle = nn.Linear(width, middle)
        self.up = Mlp(middle, [width], **layers)
        self.out = nn.Linear(width, size)

    def forward(self, x_BX: torch.Tensor) -> torch.Tensor:
        if self.training:
            x_BX = x_BX + self.noise * torch.randn_like(x_BX)
            x_BX = nn.functional.dropout(x_BX, self.dropout)
        found: torch.Tensor = self.out(self.up(self.middle(self.down(x_BX))))
        return found


def _loss(module: _Replicator, batch: Batch) -> torch.Tensor:
    """A few wild cells must not teach alone: beyond three standard deviations the error counts straight (Huber 1964)."""
    x_BX = batch.inputs[_INPUT]
    return nn.functional.huber_loss(module(x_BX).float(), x_BX, delta=3.0)


def _examples(matrix_NX: np.ndarray) -> Examples:
    return Examples(len(matrix_NX), {_INPUT: matrix_NX}, None, {})
