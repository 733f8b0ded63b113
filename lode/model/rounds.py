"""Which rows come when: the order of every epoch, drawn from (seed, number of the pass) alone, so that it can be gone on with anywhere.

An epoch of the loop is what lies between two looks at the stop rows: a pass over the training rows, or `judge_steps` updates. Then it is
a piece of all passes written one after the other, and may begin in the middle of one.
"""

from __future__ import annotations

import math

import numpy as np

from lode.model.choices import Choices
from lode.model.feed import Feed


class Rounds:
    """The epochs of a fit over the rows of `feed` that teach something.

    num_rows: rows of an epoch; steps: its updates.
    """

    def __init__(self, feed: Feed, choices: Choices) -> None:
        self.feed, self.seed, self.batch = feed, choices.seed, choices.batch
        self.index = feed.trainable
        self._by_pass = choices.judge_steps == 0
        self.num_rows = _rows_used(len(self.index), self.batch) if self._by_pass else choices.judge_steps * self.batch
        self.steps = math.ceil(self.num_rows / self.batch)

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, int64 (num_rows,)."""
        if self._by_pass:
            return self._pass(epoch, self.num_rows)
        first, last = epoch * self.num_rows, (epoch + 1) * self.num_rows
        length = len(self.index)
        passes = range(first // length, -(-last // length))
        rows = np.concatenate([self._pass(number, length) for number in passes])
        return rows[first - passes[0] * length :][: self.num_rows]

    def _pass(self, number: int, num_rows: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, number])
        return self.feed.by_length(self.index[random.permutation(len(self.index))][:num_rows], self.batch, random)


def spread(index: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows (0: all), from the whole of them at even distances."""
    return index if not 0 < most < len(index) else index[np.arange(most) * len(index) // most]


def _rows_used(num_rows: int, batch: int) -> int:
    """One row alone has no spread, which batch norm needs: a last batch of one row is left out."""
    return num_rows - int(num_rows > 1 and num_rows % batch == 1 and batch > 1)
