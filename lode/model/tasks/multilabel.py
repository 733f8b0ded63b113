"""Several labels in one cell, or none: one logit each label, binary cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from scipy.special import expit

from lode.core.errors import DataError
from lode.core.types import ColumnSchema, Range
from lode.model import labels
from lode.model.contracts import Part, State, Task

if TYPE_CHECKING:
    import torch


class Multilabel(Task):
    """Any number of labels a row, none too. A cell is a list, or a text of labels; an empty one has no label.

    Args:
        separator: what stands between two labels where a cell is a text.
        min_rows: labels on fewer training rows are not learnt; they count as absent.
    """

    metrics = ("average_precision", "micro_f1", "macro_f1", "hamming")
    kind = "labels"
    fits = (("separator", "not empty", None),)
    cells = "lists"

    def __init__(self, *, separator: str = "|", min_rows: Annotated[int, Range(1)] = 2) -> None:
        self.separator = separator
        self._min_rows = min_rows
        self._classes: tuple[str, ...] = ()

    def fit(self, values: np.ndarray) -> None:
        """Learn the labels, alphabetically. values: object (N,) of lists, texts or None.

        Errors: DataError where no label occurs on `min_rows` rows.
        """
        rows = [set(row) for row in self._split(values)]
        counts: dict[str, int] = {}
        for row in rows:
            for word in row:
                counts[word] = counts.get(word, 0) + 1
        self._classes = tuple(labels.sort_words([word for word, count in counts.items() if count >= self._min_rows]))
        if not self._classes:
            raise DataError(
                f"output: no label occurs on {self._min_rows} training rows, found {len(counts)} different ones in {len(rows)} rows. "
                f'Check the column, and `separator` (now "{self.separator}")'
            )

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N, K): 1 where the row has the label. Labels that training never saw are left out."""
        codes = {word: code for code, word in enumerate(self._classes)}
        found = np.zeros((len(values), len(self._classes)), np.float32)
        for row, words in enumerate(self._split(values)):
            for word in words:
                if word in codes:
                    found[row, codes[word]] = 1.0
        return found

    @property
    def num_scores(self) -> int:
        """One logit each label."""
        return len(self._classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in code order."""
        return self._classes

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Mean binary cross-entropy over rows and labels; target_B: float32 (B, K)."""
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(scores_BK.float(), target_B.float())

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The list of labels with a probability from 0.5 on, and the probability of each label."""
        probability_NK = expit(scores_NK.astype(np.float64) / temperature)
        answers = {"": labels.lists([self._classes[code] for code in np.flatnonzero(row)] for row in probability_NK >= 0.5)}
        for code, name in enumerate(self._classes):
            answers[f"probability.{name}"] = np.ascontiguousarray(probability_NK[:, code])
        return answers

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """The probability of each label, float64 (N, K)."""
        return expit(scores_NK.astype(np.float64) / temperature)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The list, and a probability each label."""
        shares = [ColumnSchema(f"probability.{word}", "probability", "number", "a number from 0 to 1") for word in self._classes]
        return (ColumnSchema("", "", "list", "a list of labels"), *shares)

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every label of every row is one yes-or-no trial."""
        return scores_NK.reshape(-1, 1), target.reshape(-1).astype(np.int64)

    def strata(self, target: np.ndarray) -> np.ndarray:
        """The rarest label of each row, int64 (N,); one more than the last code where it has none."""
        order = np.argsort(target.sum(axis=0), kind="stable")
        return np.where(target.any(axis=1), order[target[:, order].argmax(axis=1)], target.shape[1]).astype(np.int64)

    def prior(self, target: np.ndarray) -> np.ndarray:
        """The log odds of each label; half a row keeps them finite."""
        counts_K = np.clip(target.sum(axis=0, dtype=np.float64), 0.5, len(target) - 0.5)
        return np.log(counts_K / (len(target) - counts_K)).astype(np.float32)

    def start(self, target: np.ndarray) -> np.ndarray:
        """The same."""
        return self.prior(target)

    def parts(self) -> tuple[Part, ...]:
        """One yes-or-no problem a label."""
        return tuple(Part("binary", name=word) for word in self._classes)

    def targets(self, target: np.ndarray) -> tuple[np.ndarray, ...]:
        """Codes 0 and 1 of each label."""
        return tuple(np.ascontiguousarray(column) for column in target.T.astype(np.int64))

    def state(self) -> State:
        """The labels."""
        return {"classes": list(self._classes)}

    def restore(self, state: State) -> None:
        """Take over the labels."""
        self._classes = tuple(state["classes"])

    def _split(self, values: np.ndarray) -> list[list[str]]:
        """The words of each cell."""
        return [labels.words(value, self.separator) for value in values.tolist()]
