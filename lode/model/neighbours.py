"""Nearest neighbours among rows themselves, and rows in the order of a score within their group. Shared by metrics.

Shape letters: N rows, K numbers of a vector, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def ranked(score_N: np.ndarray, relevance_N: np.ndarray, group_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per group: relevance (or hits, 0 and 1) in the order of the score, and in the best order.

    Equal scores stand in the worst order, so that a score that tells nothing gains nothing.
    """
    order = np.lexsort((relevance_N, -score_N, group_N))
    sorted_N = group_N[order]
    cuts = np.flatnonzero(np.diff(sorted_N)) + 1
    for part in np.split(order, cuts):
        if len(part):
            relevance = relevance_N[part]
            yield relevance, np.sort(relevance)[::-1]
