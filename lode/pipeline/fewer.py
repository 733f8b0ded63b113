"""Which rows are left where a model is to learn from fewer of them: a part of the development rows, drawn as somebody who has no more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Share:
    """Of the rows. seed: which ones; a smaller share of the same seed is a part of a larger one."""

    size: float
    seed: int

    def rows(
        self, train_rows: int, target: np.ndarray, classes: bool, groups: np.ndarray | None, moments: np.ndarray | None
    ) -> tuple[np.ndarray, int]:
        """Positions among the training rows and, after them, the validation rows (int64); how many of them are for training.

        target: codes or numbers of the first output (N,). classes: whether to keep their shares. groups: codes (N,), whole groups are
        kept. moments: times (N,), the latest rows are kept: who has less history has not the past.
        """
        if moments is not None:
            order_N = np.argsort(moments, kind="stable")
            return order_N[-self._count(len(order_N)) :], self._count(train_rows)
        everything_N = np.arange(len(target))
        parts = everything_N[:train_rows], everything_N[train_rows:]
        strata = target if classes else np.zeros(len(target), np.int64)
        kept = [
            self._whole(part, groups[part]) if groups is not None else self._dealt(part, strata[part])
            for part in parts
            if len(part)
        ]
        return np.concatenate(kept), len(kept[0])

    def _dealt(self, rows: np.ndarray, strata: np.ndarray) -> np.ndarray:
        """So many of each class, at least one."""
        order_N = np.random.default_rng([self.seed, 23]).permutation(len(rows))
        found = [order_N[strata[order_N] == code] for code in np.unique(strata)]
        return np.sort(rows[np.concatenate([some[: self._count(len(some))] for some in found])])

    def _whole(self, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Groups in a drawn order until there are enough rows."""
        names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.random.default_rng([self.seed, 23]).permutation(len(names))
        before = np.cumsum(sizes[order]) - sizes[order]
        return rows[np.isin(codes, order[before < self.size * len(rows)])]

    def _count(self, rows: int) -> int:
        return max(1, round(self.size * rows))
