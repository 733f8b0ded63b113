"""Nearest neighbours among rows themselves, and rows in the order of a score within their group. Shared by metrics.

Shape letters: N rows, K numbers of a vector, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK_CELLS = 1 << 23


def fellows(vector_NK: np.ndarray, label_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per chunk of rows (C): their places, which of the other rows are of their label from the nearest on (C, N - 1), and how many are."""
    step = max(1, _CHUNK_CELLS // max(1, len(vector_NK)))
    counts_N = np.unique(label_N, return_inverse=True, return_counts=True)
    num_N = counts_N[2][counts_N[1]] - 1
    for start in range(0, len(vector_NK), step):
        place_C = np.arange(start, min(start + step, len(vector_NK)))
        near_CN = vector_NK[place_C] @ vector_NK.T
        near_CN[np.arange(len(place_C)), place_C] = -np.inf
        order_CN = np.argsort(-near_CN, axis=1, kind="stable")[:, :-1]
        yield place_C, label_N[order_CN] == label_N[place_C][:, None], num_N[place_C]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A group in the order of its scores. Rows of equal scores may stand in any order: figures are means over all of them, so that a score
    that tells nothing is worth what chance is (McSherry and Najork 2008, Computing information retrieval performance measures efficiently
    in the presence of tied scores).

    relevance: (R,), or hits, 0 and 1. best: (R,) in the best order. start, size: (B,) of each block of equal scores.
    """

    relevance: np.ndarray
    best: np.ndarray
    start: np.ndarray
    size: np.ndarray

    def expected(self, worth: np.ndarray) -> np.ndarray:
        """The mean worth of what stands at each place, float64 (R,). worth: of each row, in the order of `relevance`."""
        return np.repeat(np.add.reduceat(worth.astype(np.float64), self.start) / self.size, self.size)


def ranked(score_N: np.ndarray, relevance_N: np.ndarray, group_N: np.ndarray) -> Iterator[Ranked]:
    """Each group in the order of the score."""
    order = np.lexsort((-score_N, group_N))
    sorted_N = group_N[order]
    cuts = np.flatnonzero(np.diff(sorted_N)) + 1
    for part in np.split(order, cuts):
        if len(part):
            relevance, score = relevance_N[part], score_N[part]
            start = np.flatnonzero(np.diff(score, prepend=np.nan) != 0)
            yield Ranked(relevance, np.sort(relevance)[::-1], start, np.diff(start, append=len(part)))
