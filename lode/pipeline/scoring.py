"""What evaluation, importance and slices share: labels and scores of the test rows as the numbers that metrics read.

Shape letters: N test rows, M of them with a usable label, K classes. What a task can is asked of the task (lode/model/contracts.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema
from lode.model.contracts import Metric, Task
from lode.value.contracts import Policy

# word -> (title, what it says in plain words). A metric that is not listed shows its own word.
METRICS = {
    "accuracy": ("accuracy", "share of rows answered rightly"),
    "auc": ("AUC", "chance that a positive row is ranked above a negative one; 0.5 is a coin"),
    "average_precision": ("average precision", "area under the precision-recall curve"),
    "map": ("mean average precision", "precision over the relevant rows of a group, from its first answer down, mean over groups"),
    "balanced_accuracy": ("balanced accuracy", "mean over the classes of the share answered rightly"),
    "brier": ("Brier score", "mean squared error of the probability; less is better"),
    "coverage": ("coverage", "share of rows between the outer quantiles; it should be the distance of their levels"),
    "entity_f1": ("entity F1", "harmonic mean of precision and recall of whole entities, type and both ends right"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "hamming": ("Hamming loss", "share of labels, present or not, that are said wrongly; less is better"),
    "interval_width": ("interval width", "mean distance of the outer quantiles; at the same coverage, less is better"),
    "log_loss": ("log loss", "mean surprise at the truth; less is better"),
    "macro_f1": ("macro F1", "mean over the classes of F1, each class counted the same"),
    "map_at_r": ("mAP@R", "mean precision among as many neighbours as a row has fellows, counted where they are fellows"),
    "micro_f1": ("micro F1", "F1 over every label of every row; frequent labels weigh more"),
    "ndcg": ("NDCG@10", "worth of the ten rows answered first in a group, against the best order; 1 is perfect"),
    "pinball": ("pinball loss", "what quantiles cost that lie too low or too high, in the unit of the output; less is better"),
    "recall_at_1": ("recall@1", "share of rows whose nearest neighbour is of the same label"),
    "mae": ("MAE", "mean absolute error, in the unit of the output; less is better"),
    "mse": ("MSE", "mean squared error; less is better"),
    "r2": ("R2", "share of the variance that is explained; 0 is the constant answer"),
    "mrr": ("MRR", "mean of one over the place of the first relevant row of a group"),
    "token_accuracy": ("token accuracy", "share of tokens tagged rightly"),
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

    kind: "binary", "multiclass", or what the task says.
    rows: int64 (M,), where in the frame the usable labels are.
    target: (M, ...) as metrics read it (`Task.truth`).
    """

    name: str
    kind: str
    rows: np.ndarray
    target: np.ndarray


def kind_of(task: Task) -> str:
    """How an output is judged."""
    if task.kind != "classes":
        return task.kind
    return "binary" if task.num_scores == 1 else "multiclass"


def values_of(task: Task, name: str, frame: pl.DataFrame) -> np.ndarray:
    """The output's cells as the task takes them: float64 (N,) with NaN, or objects (N,) with None where missing."""
    column = frame[name]
    if task.cells == "numbers":
        numbers_N = column.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
        return numbers_N if task.group is None else np.column_stack([numbers_N, _groups(frame[task.group])])
    values = np.empty(len(column), dtype=object)
    for place, value in enumerate(column.to_list()):
        values[place] = value
    return values


def _groups(column: pl.Series) -> np.ndarray:
    """A number for each group, float64 (N,); NaN where it is missing."""
    return column.cast(pl.String).rank("dense").cast(pl.Float64).fill_null(float("nan")).to_numpy()


def truth_of(name: str, task: Task, frame: pl.DataFrame) -> Truth:
    """The truth as metrics read it; rows whose label is missing or was never seen in training are left out."""
    target = task.truth(values_of(task, name, frame))
    rows = np.flatnonzero(task.known(target))
    return Truth(name, kind_of(task), rows, target[rows])


def inputs_of(model: Predictor, frame: pl.DataFrame) -> pl.DataFrame:
    """Only what a request would hold, so that no label can reach the model."""
    return frame.select([column.name for column in model.columns])


def figures(task: Task, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """What metrics read, float64: P(positive) (N,), P (N, K), numbers (N,), or what the task's metrics want."""
    return task.figures(scores_NK, temperature)


def higher_is_better(word: str) -> bool:
    """Which way a metric points."""
    found: type[Metric] = REGISTRIES["metric"].get(word)
    return found.higher_is_better


def title(word: str) -> str:
    """How people call a metric."""
    return METRICS.get(word, (word.replace("_", " "), ""))[0]
