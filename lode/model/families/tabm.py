"""TabM: many networks in one, which share almost all weights and vote with their probabilities. For tables, and whatever is beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from lode.core.types import Component, Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.members import averages
from lode.model.network import NetworkModule, is_cells
from lode.model.neural import Habits, Neural, batch_of


class Tabm(Family):
    """TabM (Gorishniy 2025, arXiv 2410.24210): each member has its own loss, their probabilities are averaged.

    Numbers enter as they are and through piecewise-linear functions of their own, categories as ones; texts and pictures beside them
    through their encoders.

    Args:
        members: Networks that share almost all weights; the paper has 32, and time to match.
        width: Outputs of each layer.
        depth: Layers.
        dropout: Share of outputs set to 0 in training, after each layer.
        activation: What follows each layer.
        embedding: How numbers enter: piecewise (linear between quantiles of the training rows), periodic, or none (as they are).
        embedding_width: Outputs per number beside the number itself; left open, fewer the more numbers there are.
        bins: Quantiles between which a piecewise function is linear.
    """

    needs = "arrays"
    loop = True
    training_defaults: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "weight_decay": 0.03}

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        members: Annotated[int, Range(2)] = 8,
        width: Annotated[int, Range(1, search=(64, 512), log=True)] = 256,
        depth: Annotated[int, Range(1, search=(1, 4))] = 2,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.2,
        activation: Literal[
            "relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "mish", "softplus", "hardswish"
        ] = "relu",
        embedding: Literal["none", "periodic", "piecewise"] = "piecewise",
        embedding_width: Annotated[int, Range(1)] | None = None,
        bins: Annotated[int, Range(2)] = 32,
    ) -> None:
        options: dict[str, Any] = {
            "fusion": "concat",
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "norm": "none",
            "activation": activation,
            "members": members,
            "averages": averages(tasks),
        }
        per_number = embedding_width or _embedding_width(shapes)
        numbers = Component("mlp", {"depth": 0, "embedding": embedding, "embedding_width": per_number, "bins": bins})
        codes = Component("embedding", {"one_hot": 16})
        habits = Habits(numbers, codes, self.training_defaults, _by_rows)
        self._neural = Neural(shapes, tasks, NetworkModule, options, habits)

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        return self._neural.fit(train, stop, context)

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        return self._neural.predict(examples)

    def cost(self) -> Cost:
        return self._neural.cost()

    def save(self, folder: Path) -> None:
        self._neural.save(folder)

    def load(self, folder: Path) -> None:
        self._neural.load(folder)


def _by_rows(num_rows: int) -> dict[str, Any]:
    """About 2,000 steps: what half a minute on two processors has room for. Few rows are learnt by heart at the rate of many."""
    batch = batch_of(num_rows)
    epochs = min(64, max(10, round(2000 * batch / max(num_rows, 1))))
    return {"batch": batch, "epochs": epochs, "learning_rate": 0.01 if num_rows >= 3000 else 0.003}


def _embedding_width(shapes: Shapes) -> int:
    """Numbers of many columns get fewer outputs each, so that the first layer does not cost more than all others."""
    numbers = sum(math.prod(spec.shape) for spec in shapes.inputs.values() if is_cells(spec) and spec.cardinality is None)
    return min(12, max(2, 256 // max(numbers, 1)))
