"""What evaluation, importance and slices share: labels and scores of the test rows as the numbers that metrics read.

Shape letters: N test rows, M of them with a usable label, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema
from lode.model.contracts import Metric, Task
from lode.value.contracts import Policy

Kind = Literal["binary", "multiclass", "number"]

# word -> (title, what it says in plain words). A metric that is not listed shows its own word.
METRICS = {
    "accuracy": ("accuracy", "share of rows answered rightly"),
    "auc": ("AUC", "chance that a positive row is ranked above a negative one; 0.5 is a coin"),
    "average_precision": ("average precision", "area under the precision-recall curve"),
    "balanced_accuracy": ("balanced accuracy", "mean over the classes of the share answered rightly"),
    "brier": ("Brier score", "mean squared error of the probability; less is better"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "log_loss": ("log loss", "mean surprise at the truth; less is better"),
    "macro_f1": ("macro F1", "mean over the classes of F1, each class counted the same"),
    "mae": ("MAE", "mean absolute error, in the unit of the output; less is better"),
    "mse": ("MSE", "mean squared error; less is better"),
    "r2": ("R2", "share of the variance that is explained; 0 is the constant answer"),
    "rmse": ("RMSE", "root of the mean squared error, in the unit of the output; less is better"),
}


class Predictor(Protocol):
    """The part of `lode.pipeline.artifact.Model` that evaluation uses."""

    @property
    def columns(self) -> tuple[ColumnSchema, ...]: ...
    @property
    def tasks(self) -> Mapping[str, Task]: ...
    @property
    def temperatures(self) -> Mapping[str, float]: ...
    @property
    def policy(self) -> Policy | None: ...
    def scores(self, frame: pl.DataFrame) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True, slots=True)
class Truth:
    """One output on the test rows.

    rows: int64 (M,), where in the frame the usable labels are.
    target: codes int64 (M,) or numbers float64 (M,).
    """

    name: str
    kind: Kind
    rows: np.ndarray
    target: np.ndarray


def kind_of(task: Task) -> Kind:
    """How an output is judged."""
    if task.kind == "number":
        return "number"
    return "binary" if task.num_scores == 1 else "multiclass"


def truth_of(name: str, task: Task, frame: pl.DataFrame) -> Truth:
    """Labels as codes or numbers; rows whose label is missing or was never seen in training are left out."""
    column = frame[name]
    if task.kind == "number":
        # In its own unit: `encode` would standardise, and metrics read what `decode` gives.
        target = column.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
        rows = np.flatnonzero(np.isfinite(target))
    else:
        target = np.asarray(task.encode(np.array(column.to_list(), dtype=object)), np.int64)
        rows = np.flatnonzero(target >= 0)
    return Truth(name, kind_of(task), rows, target[rows])


def inputs_of(model: Predictor, frame: pl.DataFrame) -> pl.DataFrame:
    """Only what a request would hold, so that no label can reach the model."""
    return frame.select([column.name for column in model.columns])


def figures(task: Task, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """What metrics read: P(positive) (N,), P (N, K), or numbers (N,); float64."""
    answers = task.decode(scores_NK, temperature)
    if task.kind == "number":
        return np.asarray(answers[""], np.float64)
    if kind_of(task) == "binary":
        return np.asarray(answers[f"probability.{task.classes[1]}"], np.float64)
    return np.stack([np.asarray(answers[f"probability.{name}"], np.float64) for name in task.classes], axis=1)


def higher_is_better(word: str) -> bool:
    """Which way a metric points."""
    found: type[Metric] = REGISTRIES["metric"].get(word)
    return found.higher_is_better


def title(word: str) -> str:
    """How people call a metric."""
    return METRICS.get(word, (word.replace("_", " "), ""))[0]
