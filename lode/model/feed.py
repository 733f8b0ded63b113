"""What the training loop asks of rows, wherever they come from: tables, pictures and texts (`lode/model/batches.py`), or packed tokens
(`lode/model/language/rows.py`). The loop knows row numbers only; what a number stands for is the feed's own affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from lode.model.parallel import Team


class Piece(Protocol):
    """A batch on the device, or a piece of one.

    num_rows: rows in it. weight: what it counts in a mean over batches (rows; of texts, learned tokens). share: of a piece, what part of
    its batch's loss its own mean is; the loop multiplies with it. inputs: tensors by name, for the message about values that are not
    finite.
    """

    num_rows: int
    share: float

    @property
    def weight(self) -> float: ...

    @property
    def inputs(self) -> Mapping[str, torch.Tensor]: ...


class Feed(Protocol):
    """The rows of one split."""

    @property
    def trainable(self) -> np.ndarray:
        """Rows (int64) that teach something."""

    def chunk_batches(self, batch: int) -> int:
        """How many batches of so many rows to gather at once."""

    def by_length(self, order: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
        """As many rows in the order in which they are taken: those of like length side by side, or newly drawn ones."""

    def batches(self, index: np.ndarray, batch: int) -> Iterator[Any]:
        """Consecutive batches (`Piece`) of the rows at `index`."""

    def pieces(self, index: np.ndarray, batch: int, number: int, team: Team | None = None) -> Iterator[list[Any]]:
        """The same batches, each cut into `number` pieces (fewer for a small last batch) whose losses times `share` add up to the batch's.

        team: the processes that share each batch; this one gets the pieces of its own rows.
        """
