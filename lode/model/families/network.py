"""The family that the training loop fits: encoders -> fusion -> trunk -> heads. The module is in `lode/model/network.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.types import EncoderSpec, Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.network import NetworkModule, is_table
from lode.model.neural import Habits, Neural
from lode.model.stepwise import check_inputs, step_inputs


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
        init: First weights of linear layers and convolutions; default is what torch gives them.
        table: The encoder of all numbers and categories that name none themselves (resnet_mlp, ft_transformer, mlp, ...); left open,
            each kind has its own.
        text: The encoder of all texts that name none themselves (pooled, textcnn, lstm, ...); left open, pooled.
    """

    kinds = ("classes", "number", "labels", "quantiles", "tags", "vector", "relevance")
    needs = "arrays"
    loop = True

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        fusion: Literal["concat", "attention"] = "concat",
        width: Annotated[int, Range(1, search=(32, 512), log=True)] = 256,
        depth: Annotated[int, Range(0, search=(1, 4))] = 2,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] | None = None,
        norm: Literal["none", "layer", "batch", "rms"] = "none",
        activation: Literal[
            "relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "mish", "softplus", "hardswish"
        ] = "relu",
        members: Annotated[int, Range(1)] = 1,
        init: Literal["default", "normal", "uniform", "xavier", "he", "orthogonal"] = "default",
        table: EncoderSpec | None = None,
        text: EncoderSpec | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "fusion": fusion,
            "width": width,
            "depth": depth,
            "dropout": (0.4 if is_table(shapes.inputs) else 0.2) if dropout is None else dropout,
            "norm": norm,
            "activation": activation,
            "members": members,
            "init": init,
        }
        steps = step_inputs(tasks, shapes.inputs)
        if steps:
            # Without an output of the whole row there is no trunk, and nothing reads the other inputs.
            options |= {"steps": steps} | ({"depth": 0} if len(steps) == len(tasks) else {})
            check_inputs(steps, tasks, shapes.inputs)
        self._neural = Neural(shapes, tasks, NetworkModule, options, Habits(numbers=table, codes=table, texts=text))

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
