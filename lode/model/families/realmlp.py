"""RealMLP: a plain network with everything around it tuned on many tables. The module is in `lode/model/realmlp.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from lode.core.types import Component, Range
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.neural import Habits, Neural
from lode.model.realmlp import RealmlpModule

_BATCH = 256
_LABELS = ("classes", "labels")


class Realmlp(Family):
    """RealMLP-TD (Holzmueller 2024, arXiv 2407.04491): its embeddings, parametrisation, first weights, rates and schedules.

    It never stops early: the learning rate rises and falls four times, and the best epoch on the stop rows is kept. Different from the
    paper: the best epoch is the one with the least loss, for classes too; and because it is given fewer steps, frequencies start wider
    (0.3 for 0.1) and numbers are learnt at the rate of classes (0.04 for 0.2).

    Args:
        width: Outputs of each layer.
        depth: Layers.
        dropout: Share of outputs set to 0 after each layer, in the first half of training; then it falls to 0.
        activation: What follows each layer, learned between it and a straight line; left open, selu for labels, mish for numbers.
        label_smoothing: Share of a class target that is given to all classes alike, in training.
        frequencies: Learned frequencies per number.
        embedding_width: Outputs per number beside the number itself.
        spread: Standard deviation of the frequencies at the start.
    """

    needs = "arrays"
    loop = True
    training_defaults: ClassVar[dict[str, Any]] = {
        "optimizer": "adamw",
        "learning_rate": 0.04,
        "beta2": 0.95,
        "weight_decay": 0.02,
        "decay_schedule": "flat_cos",
        "schedule": "coslog4",
        "warmup": 0.0,
        "stop": {"patience": 1_000_000},
    }

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        width: Annotated[int, Range(1, search=(64, 512), log=True)] = 256,
        depth: Annotated[int, Range(0, search=(1, 6))] = 3,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.6))] = 0.15,
        activation: Literal["selu", "mish"] | None = None,
        label_smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.1,
        frequencies: Annotated[int, Range(1)] = 16,
        embedding_width: Annotated[int, Range(1)] = 3,
        spread: Annotated[float, Range(0, open_low=True)] = 0.3,
    ) -> None:
        numeric = not any(task.kind in _LABELS for task in tasks.values())
        options: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "activation": activation or ("mish" if numeric else "selu"),
            "clamped": [name for name, task in tasks.items() if task.kind == "number"],
        }
        embedding = {"embedding": "shifted", "frequencies": frequencies, "embedding_width": embedding_width, "spread": spread}
        habits = Habits(
            numbers=Component("mlp", {"depth": 0, **embedding}),
            codes=Component("embedding", {"one_hot": 8, "width": 8}),
            training=self.training_defaults,
            by_rows=_by_rows,
            label_smoothing=label_smoothing,
        )
        self._neural = Neural(shapes, tasks, RealmlpModule, options, habits)

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
    """The paper's batch; about 2,500 steps, 16 to 64 epochs: the paper has 256, and hours.

    Smaller batches of few rows are worse at these rates, measured on six tables of 300 to 1,800 rows.
    """
    return {"batch": _BATCH, "epochs": min(64, max(16, round(2500 * _BATCH / max(num_rows, 1))))}
