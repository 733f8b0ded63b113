"""N-gram models, the baselines of language models: counts of what followed the last few tokens, smoothed; numpy only.

Interpolated modified Kneser-Ney: Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling",
equations 20 to 26, with discounts estimated from the counts. The last model of all is uniform, so that no token has probability 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class _Level:
    """The n-grams of one length in the training tokens.

    ids (N,): which n-gram ends at each position from n - 1 on. keys (U,): context id * vocabulary + last token, sorted; empty for n = 1,
    where a token is its own id. counts (U,): how often each stands there. num_contexts: how many (n - 1)-grams there are.
    """

    ids: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    num_contexts: int


def ngram_nats(train: np.ndarray, test: np.ndarray, order: int, vocabulary: int) -> np.ndarray:
    """float32 (order, N): nats of each test token under models of length 1 to `order`, told from the tokens before it.

    train, test: int (M,), (N,) ids below `vocabulary`; both are read as one text each. Memory: about 60 bytes for each training token.
    Where fewer tokens stand before one, or those were never seen, the next shorter model speaks.
    """
    train, test = np.asarray(train, np.int64), np.asarray(test, np.int64)
    nats = np.empty((order, len(test)), np.float32)
    # What the next longer model falls back on: made of continuation counts, except for the longest.
    shorter_N = np.full(len(test), 1.0 / vocabulary)
    seen_N = np.zeros(len(test), np.int64)  # id of the context of each test token, -1 where it was never seen
    for length, (level, longer) in enumerate(_pairs(_levels(train, order + 1, vocabulary)), start=1):
        own_N = _found(level, seen_N, test, vocabulary)
        raw_N = _smoothed(level, level.counts, seen_N, own_N, shorter_N, vocabulary)
        nats[length - 1] = -np.log(raw_N)
        if length == order:
            break
        different_U = _different(level, longer)
        shorter_N = _smoothed(level, different_U, seen_N, own_N, shorter_N, vocabulary)
        seen_N = np.concatenate(([-1], own_N[:-1]))
    return nats


def _levels(train: np.ndarray, order: int, vocabulary: int) -> Iterator[_Level]:
    """N-grams of length 1, 2, ... `order`; those of one length are held while the next is made."""
    counts = np.bincount(train, minlength=vocabulary)
    level = _Level(train, np.empty(0, np.int64), counts, 1)
    yield level
    for _ in range(order - 1):
        key_N = level.ids[:-1] * vocabulary + train[len(train) - len(level.ids) + 1 :]
        keys, id_N, counts = np.unique(key_N, return_inverse=True, return_counts=True)
        level = _Level(id_N, keys, counts, len(level.counts))
        yield level


def _pairs(levels: Iterator[_Level]) -> Iterator[tuple[_Level, _Level]]:
    before = next(levels)
    for level in levels:
        yield before, level
        before = level


def _different(level: _Level, longer: _Level) -> np.ndarray:
    """(U,) how many different tokens stand before each n-gram: distinct longer n-grams that end with it."""
    end_of = np.empty(len(longer.counts), np.int64)
    end_of[longer.ids] = level.ids[1:]  # the same n-gram has the same end wherever it stands
    return np.bincount(end_of, minlength=len(level.counts))


def _found(level: _Level, seen_N: np.ndarray, test: np.ndarray, vocabulary: int) -> np.ndarray:
    """(N,) ids of the n-grams that end at each test token, -1 where training had none."""
    if not len(level.keys):
        return test
    key_N = seen_N * vocabulary + test
    place_N = np.minimum(np.searchsorted(level.keys, key_N), len(level.keys) - 1)
    return np.where((seen_N >= 0) & (level.keys[place_N] == key_N), place_N, -1)


def _smoothed(
    level: _Level, counts_U: np.ndarray, seen_N: np.ndarray, own_N: np.ndarray, shorter_N: np.ndarray, vocabulary: int
) -> np.ndarray:
    """(N,) probabilities: discounted counts, and what was taken off them given to the shorter model."""
    context_U = level.keys // vocabulary if len(level.keys) else np.zeros(len(counts_U), np.int64)
    discount_U = _discounts(counts_U)[np.minimum(counts_U, 3)]
    total_C = np.bincount(context_U, counts_U, level.num_contexts)
    taken_C = np.bincount(context_U, discount_U, level.num_contexts)
    is_known_N = seen_N >= 0
    is_known_N &= total_C[np.maximum(seen_N, 0)] > 0
    context_N, own_N = seen_N[is_known_N], own_N[is_known_N]
    kept_N = np.where(own_N >= 0, (counts_U - discount_U)[own_N], 0.0)
    made_N = shorter_N.copy()
    made_N[is_known_N] = (kept_N + taken_C[context_N] * shorter_N[is_known_N]) / total_C[context_N]
    return made_N


def _discounts(counts_U: np.ndarray) -> np.ndarray:
    """What is taken off a count of 0, 1, 2, 3 and more: equation 26; 0.75 of it where the counts of counts say nothing."""
    n1, n2, n3, n4 = (float((counts_U == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.75, 0.75, 0.75])
    y = n1 / (n1 + 2 * n2)
    made = [count - (count + 1) * y * above / below for count, above, below in ((1, n2, n1), (2, n3, n2), (3, n4, n3))]
    return np.array([0.0, *np.clip(made, 0.05, [0.95, 1.95, 2.95])])
