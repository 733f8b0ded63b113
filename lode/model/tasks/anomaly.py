"""Rows that are unlike the others: nothing has to be labelled. Labels, where the data have some, judge and teach nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from lode.core.errors import DataError, ModelError
from lode.core.types import ColumnSchema, Range
from lode.model import labels
from lode.model.contracts import Part, State, Task

if TYPE_CHECKING:
    import torch

_NORMAL, _ODD, _UNKNOWN = 0, 1, 2


class Anomaly(Task):
    """How odd a row is, and whether it is flagged. The output's name is free; is there a column of that name, its labels judge.

    Args:
        share: Rows are flagged that are odder than all but this share of the training rows.
        positive: the label of rows that are anomalies, where the data have labels.
    """

    metrics = ("auc", "average_precision")
    kind = "anomaly"
    cells = "flags"
    baselines = ("constant", "principal", "isolation")
    networks = ("autoencoder",)

    def __init__(
        self,
        *,
        share: Annotated[float, Range(0, 0.5, open_low=True)] = 0.01,
        positive: Any = None,
    ) -> None:
        self.share = share
        self._positive = labels.canonical(positive)

    def fit(self, values: np.ndarray) -> None:
        """Only look whether the labels can be read. values: object or numeric (N,), None where unlabelled.

        Errors: DataError where there are labels and `positive` is none of them.
        """
        found = labels.found(values)
        if found and self._positive not in found:
            raise DataError(
                f"output: positive {self._positive!r} is none of the labels {labels.describe(found)}. Name the label of the anomalies as "
                "`positive`, or give the output a name that no column has"
            )

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int64 (N,): 1 for an anomaly, 0 for any other label, 2 where there is none; every row is learnt from."""
        words = labels.canonical_all(values)
        return np.array([_UNKNOWN if word is None else int(word == self._positive) for word in words], dtype=np.int64)

    @property
    def num_scores(self) -> int:
        """One."""
        return 1

    @property
    def classes(self) -> tuple[str, ...]:
        """None: nothing is learnt from labels."""
        return ()

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """There is none. Errors: ModelError; families of anomalies have a loss of their own."""
        raise ModelError("outputs: an anomaly has no loss on labels. Choose model: autoencoder, principal or isolation.")

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """Whether each row is flagged, and "score": -log10 of the share of training rows that are as odd (2 is one in a hundred)."""
        score_N = self.figures(scores_NK)
        return {"": score_N >= -np.log10(self.share), "score": score_N}

    def figures(self, scores_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """The score, float64 (N,)."""
        return scores_NK[:, 0].astype(np.float64)

    def natural(self, target: np.ndarray) -> np.ndarray:
        """Codes; where some rows are labelled the others are unknown (-1), where none is all count as normal: figures are undefined."""
        return np.where(target == _UNKNOWN, -1 if (target != _UNKNOWN).any() else _NORMAL, target)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The flag and the score."""
        return (
            ColumnSchema("", "", "boolean", "true or false"),
            ColumnSchema("score", "score", "number", "-log10 of the share of training rows that are as odd"),
        )

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """None: a score is no probability."""

    def strata(self, target: np.ndarray) -> np.ndarray:
        """The codes: labelled anomalies are spread over all folds."""
        return target

    def prior(self, target: np.ndarray) -> np.ndarray:
        """Nothing is odd."""
        return np.zeros(1, np.float32)

    def start(self, target: np.ndarray) -> np.ndarray | None:
        """No bias."""

    def parts(self) -> tuple[Part, ...]:
        """None: nothing is learnt from labels."""
        return ()

    def state(self) -> State:
        """Nothing was learnt."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to take over."""
