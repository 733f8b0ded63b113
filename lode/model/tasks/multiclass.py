"""One label of several: K logits, cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from lode.model import labels
from lode.model.contracts import State, Task

if TYPE_CHECKING:
    import torch


class Multiclass(Task):
    """One label of several that exclude one another; every label of the training rows is a class."""

    metrics = ("accuracy", "log_loss", "macro_f1")
    kind = "classes"

    def __init__(self) -> None:
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
        from torch.nn import functional

        return functional.cross_entropy(scores_BK.float(), target_B.long())

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The most probable label in the data's own form, and the probability of each class."""
        probability_NK = softmax(scores_NK.astype(np.float64) / temperature, axis=1)
        answers = {"": labels.as_array(self._forms)[np.argmax(scores_NK, axis=1)]}
        for code, name in enumerate(self._classes):
            answers[f"probability.{name}"] = np.ascontiguousarray(probability_NK[:, code])
        return answers

    def state(self) -> State:
        """The classes."""
        return {"classes": list(self._classes), "forms": list(self._forms)}

    def restore(self, state: State) -> None:
        """Take over the classes."""
        self._classes = tuple(state["classes"])
        self._forms = tuple(state["forms"])
