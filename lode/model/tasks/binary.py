"""A yes-or-no output: one logit, cross-entropy, the named label is the positive one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from scipy.special import expit

from lode.core.errors import DataError, near_miss
from lode.core.types import Range
from lode.model import labels
from lode.model.contracts import Part, State, Task
from lode.model.losses import ClassLoss

if TYPE_CHECKING:
    import torch


class Binary(Task):
    """One of two labels, of which one is the event that matters.

    Args:
        positive: the label of the event, as the data have it (1, "yes", true); it must be named, because data code it both ways.
        label_smoothing: share of each label that counts as either; in networks only.
        class_weights: how much a row of each label counts in training: "balanced" (the rarer, the more), or a number for each label.
            Probabilities are put back to the true rates.
        focal: power with which rows that are answered rightly already count less (focal loss, 2 is usual); in networks only.
    """

    metrics = ("auc", "average_precision", "accuracy", "log_loss", "brier", "f1")
    kind = "classes"

    def __init__(
        self,
        *,
        positive: Any = None,
        label_smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        class_weights: Literal["balanced"] | dict[str, Annotated[float, Range(0, open_low=True)]] | None = None,
        focal: Annotated[float, Range(0, 10)] = 0.0,
    ) -> None:
        self._positive = labels.canonical(positive)
        self._loss = ClassLoss(label_smoothing, class_weights, focal)
        self._classes: tuple[str, ...] = ()
        self._forms: tuple[labels.Label, ...] = ()

    def fit(self, values: np.ndarray) -> None:
        """Learn the two labels. values: object or numeric (N,).

        Errors: DataError where `positive` is not named or never occurs, or where there are not exactly two labels.
        """
        found = labels.found(values)
        if self._positive is None:
            example = next(reversed(labels.sort_words(list(found))), "1")
            raise DataError(
                f"output: `positive` is not named, found the labels {labels.describe(found) or 'none'}. "
                f"Name the label of the event, for example `{{type: binary, positive: {example}}}`"
            )
        if self._positive not in found:
            raise DataError(
                f'output: positive "{self._positive}" never occurs, found the labels '
                f"{labels.describe(found) or 'none'}.{near_miss(self._positive, found)} Name one of them as `positive`"
            )
        labels.need_two_classes(found)
        if len(found) > 2:
            raise DataError(
                f"output: {len(found)} labels found ({labels.describe(found)}), a binary output has two. "
                "Use `type: multiclass`, or correct the labels"
            )
        negative = next(word for word in found if word != self._positive)
        self._classes = (negative, self._positive)
        self._forms = tuple(found[word][0] for word in self._classes)
        self._loss.fit(self._classes, [found[word][1] for word in self._classes])

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N,): 1 for the positive label, 0 for the other, -1 for anything else."""
        return labels.encode(values, self._classes)

    @property
    def num_scores(self) -> int:
        """One logit."""
        return 1

    @property
    def classes(self) -> tuple[str, ...]:
        """(negative, positive)."""
        return self._classes

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean binary cross-entropy of the logits; targets are 0 or 1."""
        return self._loss.binary(scores_BK[:, 0].float(), target_B)

    def parts(self) -> tuple[Part, ...]:
        """One binary problem."""
        return (Part("binary", weights=self._loss.weights),)

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """Labels in the data's own form (positive from probability 0.5 on) and both probabilities."""
        logits_N = scores_NK[:, 0].astype(np.float64) / temperature
        positive_N = expit(logits_N)
        negative, positive = self._classes
        return {
            "": labels.as_array(self._forms)[(positive_N >= 0.5).astype(np.int64)],
            f"probability.{negative}": expit(-logits_N),
            f"probability.{positive}": positive_N,
        }

    def state(self) -> State:
        """The two labels, and the weights where there are any."""
        return {"classes": list(self._classes), "forms": list(self._forms), **self._loss.state()}

    def restore(self, state: State) -> None:
        """Take over the two labels."""
        self._classes = tuple(state["classes"])
        self._forms = tuple(state["forms"])
        self._positive = self._classes[1]
        self._loss.restore(state)
