"""How odd a row is, in one unit for every family: -log10 of the share of training rows that are as odd. 2 is one row in a hundred.

Shared by the families of the task `anomaly`, with the matrix that they all look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from lode.core.errors import ModelError
from lode.core.types import FlatSpec
from lode.model.design import Design

_KNOTS = 1000
_CHUNK_CELLS = 1 << 24
_MOST_COLUMNS = 4096


class Rarity:
    """A Design and the sorted oddness of the training rows, whatever its unit was."""

    def __init__(self, spec: FlatSpec) -> None:
        self._design = Design(spec)
        self._odd_Q = np.zeros(2)
        self._score_Q = np.zeros(2)

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return self._design.width

    def fit_matrix(self, flat: Any) -> np.ndarray:
        """The training rows as float32 (N, X): numbers standardised, categories one-hot.

        Errors: ModelError where it would be too wide.
        """
        self._design.fit(flat)
        if self.width > _MOST_COLUMNS:
            raise ModelError(
                f"outputs: an anomaly looks at {self.width:,} columns here (every term of a text, every word of a category is one), "
                f"allowed are {_MOST_COLUMNS:,}. Leave out texts, give them fewer `terms`, or merge rare words."
            )
        return np.concatenate([*self.chunks(flat)]) if flat.shape[0] else np.empty((0, self.width), np.float32)

    def chunks(self, flat: Any) -> Iterator[np.ndarray]:
        """The matrix of any rows, float32 (M, X), some at a time."""
        step = max(1, _CHUNK_CELLS // max(1, self.width))
        for start in range(0, flat.shape[0], step):
            part = self._design.matrix(flat[start : start + step])
            yield np.ascontiguousarray(part.toarray() if sparse.issparse(part) else part, dtype=np.float32)

    def fit(self, odd_N: np.ndarray) -> None:
        """Learn what is usual. odd_N: of the training rows, larger is odder."""
        sorted_N = np.sort(odd_N.astype(np.float64))
        num_rows = len(sorted_N)
        share_N = (num_rows - np.arange(num_rows) - 0.5) / num_rows
        # Few knots where there are many rows, every row where it matters: among the oddest.
        place = num_rows - np.unique(np.geomspace(1, num_rows, min(num_rows, _KNOTS)).astype(np.int64))[::-1]
        odd_Q, first = np.unique(sorted_N[place], return_index=True)
        self._odd_Q, self._score_Q = odd_Q, -np.log10(share_N[place][first])

    def scores(self, odd_N: np.ndarray) -> np.ndarray:
        """float32 (N, 1). Beyond the oddest training row the last slope goes on, so that odder stays odder."""
        found_N = np.interp(odd_N, self._odd_Q, self._score_Q)
        back = max(0, len(self._odd_Q) - 1 - max(1, len(self._odd_Q) // 10))
        rise, run = self._score_Q[-1] - self._score_Q[back], self._odd_Q[-1] - self._odd_Q[back]
        slope = rise / run if run > 0 else 1.0
        found_N = found_N + slope * np.maximum(odd_N - self._odd_Q[-1], 0.0)
        return found_N.astype(np.float32)[:, None]

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt."""
        design = {f"design.{name}": np.ascontiguousarray(array) for name, array in self._design.state().items()}
        return {**design, "odd": self._odd_Q, "score": self._score_Q}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take it over."""
        self._design.restore({name.removeprefix("design."): array for name, array in state.items() if name.startswith("design.")})
        self._odd_Q, self._score_Q = state["odd"], state["score"]
