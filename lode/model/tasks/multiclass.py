"""One label of several: K logits, cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from scipy.special import softmax

from lode.core.types import Range
from lode.model import labels
from lode.model.contracts import Part, State, Task
from lode.model.losses import ClassLoss

if TYPE_CHECKING:
    import torch


class Multiclass(Task):
    """One label of several that exclude one another; every label of the training rows is a class.

    Args:
        label_smoothing: share of each label that counts as any; in networks only.
        class_weights: how much a row of each label counts in training: "balanced" (the rarer, the more), or a number for each label
            (1 where none is given). Probabilities are put back to the true rates.
        focal: power with which rows that are answered rightly already count less (focal loss, 2 is usual); in networks only.
    """

    metrics = ("accuracy", "log_loss", "macro_f1")
    kind = "classes"

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        class_weights: Literal["balanced"] | dict[str, Annotated[float, Range(0, open_low=True)]] | None = None,
        focal: Annotated[float, Range(0, 10)] = 0.0,
    ) -> None:
        self._loss = ClassLoss(label_smoothing, class_weights, focal)
        self._classes: tuple[str, ...] = ()
        self._forms: tuple[labels.Label, ...] = ()

    def fit(self, values: np.ndarray) -> None:
        """Learn the classes, in numeric order where all are numbers, else alphabetically. values: object or numeric (N,).

        Errors: DataError where fewer than two labels occur.
        """
        found = labels.found(values)
        labels.need_two_classes(found)
        self._classes = tuple(labels.sort_words(list(found)))
        self._forms = tuple(found[word][0] for word in self._classes)
        self._loss.fit(self._classes, [found[word][1] for word in self._classes])

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N,) codes; -1 for a missing label or one that training never saw."""
        return labels.encode(values, self._classes)

    @property
    def num_scores(self) -> int:
        """One logit each class."""
        return len(self._classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in code order."""
        return self._classes

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy; targets are codes."""
        return self._loss.multiclass(scores_BK.float(), target_B)

    def parts(self) -> tuple[Part, ...]:
        """One problem of several classes."""
        return (Part("multiclass", self.num_scores, weights=self._loss.weights),)

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The most probable label in the data's own form, and the probability of each class."""
        probability_NK = softmax(scores_NK.astype(np.float64) / temperature, axis=1)
        answers = {"": labels.as_array(self._forms)[np.argmax(scores_NK, axis=1)]}
        for code, name in enumerate(self._classes):
            answers[f"probability.{name}"] = np.ascontiguousarray(probability_NK[:, code])
        return answers

    def state(self) -> State:
        """The classes, and the weights where there are any."""
        return {"classes": list(self._classes), "forms": list(self._forms), **self._loss.state()}

    def restore(self, state: State) -> None:
        """Take over the classes."""
        self._classes = tuple(state["classes"])
        self._forms = tuple(state["forms"])
        self._loss.restore(state)
