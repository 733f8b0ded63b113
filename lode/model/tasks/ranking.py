"""Rows of one query in the order of their relevance: listwise softmax within the query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from lode.core.errors import DataError
from lode.core.types import ColumnName, ColumnSchema, Range
from lode.model.contracts import Part, State, Task

if TYPE_CHECKING:
    import torch


_MOST_LEVELS = 30
"""Of relevance, and its greatest value: 2^30 is what one row may be worth."""


class Ranking(Task):
    """A score that orders the rows of a group (a query, a visitor) by relevance; the scores of two groups do not compare.

    The loss is the cross-entropy between the shares of relevance and the softmax of the scores in each group (Cao 2007, ListNet;
    Bruch 2019, An analysis of the softmax cross entropy loss for learning-to-rank). Trees learn the order by LambdaMART where relevance
    has few levels, linear models fit the relevance row by row.

    Args:
        relevant: rows of more relevance than this count as hits in MAP, MRR and recall; NDCG looks at the relevance itself.
        group: the column that says which rows are ranked against each other; split by it too (`split: {by: group, column: ...}`).
    """

    metrics = ("ndcg", "map", "mrr", "recall_at_10")
    kind = "relevance"
    cells = "numbers"
    together = 1 << 30

    def __init__(self, *, group: ColumnName, relevant: Annotated[float, Range(0)] = 0.0) -> None:
        self.group = group
        self._relevant = relevant
        self._mean, self._spread = 0.0, 1.0
        self._levels: np.ndarray | None = None

    def fit(self, values: np.ndarray) -> None:
        """Learn the scale of relevance. values: float64 (N, 2), relevance (0 is none, more is better) and a number of the group.

        Errors: DataError where no relevance is above 0, one is negative, or every group has one row.
        """
        known = values[np.isfinite(values).all(axis=1)]
        if not len(known) or known[:, 0].max() <= 0 or known[:, 0].min() < 0:
            raise DataError(
                "output: a ranking needs relevance from 0 (none) upwards, and some above 0, "
                f"found {'none' if not len(known) else f'{known[:, 0].min():g} to {known[:, 0].max():g}'}. Check the column"
            )
        if np.unique(known[:, 1], return_counts=True)[1].max() < 2:
            raise DataError(
                f'output: every group of "{self.group}" has one row, there is nothing to rank. Name another column as `group`'
            )
        self._mean, self._spread = float(known[:, 0].mean()), float(known[:, 0].std()) or 1.0
        levels = np.unique(known[:, 0])
        self._levels = levels if len(levels) <= _MOST_LEVELS and levels[-1] <= _MOST_LEVELS else None

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float32 (N, 2): relevance and group; NaN where either is missing."""
        return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan).astype(np.float32)

    @property
    def num_scores(self) -> int:
        """One."""
        return 1

    @property
    def classes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def loss(self, scores_BK: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Softmax cross-entropy within each group of the batch, a mean over rows."""
        score_B, relevance_B, group_B = scores_BK[:, 0].float(), target_B[:, 0].float(), target_B[:, 1]
        same_BB = group_B[:, None] == group_B[None, :]
        whole_B = score_B[None, :].masked_fill(~same_BB, -1e9).logsumexp(dim=1)
        total_B = (relevance_B[None, :] * same_BB).sum(dim=1)
        share_B = relevance_B / total_B.clamp_min(1e-9)
        return (share_B * (whole_B - score_B)).mean()

    def decode(self, scores_NK: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
        """The score, float64 (N,): sort the rows of a group by it, largest first."""
        return {"": scores_NK[:, 0].astype(np.float64)}

    def natural(self, target: np.ndarray) -> np.ndarray:
        """Float64 (N, 3): relevance, group, and whether it is a hit."""
        return np.column_stack([target, target[:, 0] > self._relevant]).astype(np.float64)

    def answers(self) -> tuple[ColumnSchema, ...]:
        """The score."""
        return (ColumnSchema("", "", "number", "a score: sort the rows of a group by it"),)

    def trials(self, scores_NK: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """None: a score is no probability."""

    def strata(self, target: np.ndarray) -> np.ndarray:
        """The relevance, float32 (N,)."""
        return np.ascontiguousarray(target[:, 0], np.float32)

    def company(self, target: np.ndarray) -> np.ndarray:
        """The group, int64 (N,)."""
        return np.nan_to_num(target[:, 1], nan=-1.0).astype(np.int64)

    def worth(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Codes of the levels that training saw (a new one counts as the next lower), and 2^relevance - 1 of each, as in NDCG."""
        if self._levels is None:
            return None
        code_N = np.searchsorted(self._levels.astype(np.float32), target[:, 0], side="right") - 1
        return np.maximum(code_N, 0).astype(np.int64), 2.0**self._levels - 1.0

    def prior(self, target: np.ndarray) -> np.ndarray:
        """All alike."""
        return np.zeros(1, np.float32)

    def start(self, target: np.ndarray) -> np.ndarray | None:
        """No bias: it would cancel."""

    def parts(self) -> tuple[Part, ...]:
        """Relevance as a plain number."""
        return (Part("number"),)

    def targets(self, target: np.ndarray) -> tuple[np.ndarray, ...]:
        """Standardised relevance, float32 (N,)."""
        return (((target[:, 0] - self._mean) / self._spread).astype(np.float32),)

    def state(self) -> State:
        """The scale of relevance, and its levels if they are few."""
        levels = None if self._levels is None else self._levels.tolist()
        return {"mean": self._mean, "spread": self._spread, "levels": levels}

    def restore(self, state: State) -> None:
        """Take it over."""
        self._mean, self._spread = float(state["mean"]), float(state["spread"])
        self._levels = None if state.get("levels") is None else np.asarray(state["levels"], np.float64)
