"""A yes-or-no output: one logit, cross-entropy, the named label is the positive one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from lode.core.errors import DataError, near_miss
from lode.model import labels
from lode.model.contracts import State, Task

if TYPE_CHECKING:
    import torch


class Binary(Task):
    """One of two labels, of which one is the event that matters.

    Args:
        positive: the label of the event, as the data have it (1, "yes", true); it must be named, because data code it both ways.
    """

    metrics = ("auc", "average_precision", "accuracy", "log_loss", "brier", "f1")
    kind = "classes"

    def __init__(self, *, positive: Any = None) -> None:
        self._positive = labels.canonical(positive)
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
        from torch.nn import functional

        logits_B = scores_BK[:, 0].float()
        return functional.binary_cross_entropy_with_logits(logits_B, target_B.to(logits_B.dtype))

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
        """The two labels."""
        return {"classes": list(self._classes), "forms": list(self._forms)}

    def restore(self, state: State) -> None:
        """Take over the two labels."""
        self._classes = tuple(state["classes"])
        self._forms = tuple(state["forms"])
        self._positive = self._classes[1]
