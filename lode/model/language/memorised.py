"""The longest passages of a text that stand word for word in another: what a model's samples repeat of its training texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
_INVERSE = pow(_BASE, -1, 2**64)
_BLOCK = 2_000_000


class Passage(NamedTuple):
    """A passage of the text that stands in the other too. begin: in the text; place: in the other; length in tokens."""

    begin: int
    place: int
    length: int


def longest_passages(texts: list[np.ndarray], other: np.ndarray) -> list[Passage]:
    """Of each text the longest passage that `other` has too; the first one of several, length 0 where not one token is shared.

    texts: int (T,) ids each. other: int (N,), may be a memory map: it is read in blocks. A passage of L tokens holds those of L - 1,
    so the length is found by halving; windows are compared by their polynomial hash modulo 2^64, hits by their tokens.
    """
    found = [Passage(0, 0, 0) for _ in texts]
    high = [len(text) for text in texts]
    while True:
        asked = {
            place: (found[place].length + high[place] + 1) // 2 for place in range(len(texts)) if found[place].length < high[place]
        }
        if not asked:
            return found
        for length in sorted(set(asked.values())):
            places = [place for place, wanted in asked.items() if wanted == length]
            hits = _hits([texts[place] for place in places], other, length)
            for place, hit in zip(places, hits, strict=True):
                if hit is None:
                    high[place] = length - 1
                else:
                    found[place] = Passage(*hit, length)


def _hits(texts: list[np.ndarray], other: np.ndarray, length: int) -> list[tuple[int, int] | None]:
    """Of each text a window of `length` tokens that `other` has: where it begins in both; None where there is none."""
    wanted = [_hashes(np.asarray(text, np.uint64), length) for text in texts]
    every = np.unique(np.concatenate(wanted))
    hits: list[tuple[int, int] | None] = [None] * len(texts)
    for begin in range(0, len(other) - length + 1, _BLOCK):
        block = np.asarray(other[begin : begin + _BLOCK + length - 1])
        hash_N = _hashes(block.astype(np.uint64), length)
        shared = np.flatnonzero(every[np.minimum(np.searchsorted(every, hash_N), len(every) - 1)] == hash_N)
        for number, text in enumerate(texts):
            own = shared[np.isin(hash_N[shared], wanted[number])] if hits[number] is None else ()
            same = (_same(text, wanted[number], block, int(place), hash_N[place], length, begin) for place in own)
            hits[number] = hits[number] or next((hit for hit in same if hit is not None), None)
        if all(hit is not None for hit in hits):
            break
    return hits


def _same(
    text: np.ndarray, hash_T: np.ndarray, block: np.ndarray, place: int, wanted: np.uint64, length: int, begin: int
) -> tuple[int, int] | None:
    """Whether the hash of the window at `place` of the block is one of the text's, and the tokens too."""
    for own in np.flatnonzero(hash_T == wanted):
        if np.array_equal(text[own : own + length], block[place : place + length]):
            return int(own), begin + place
    return None


def _hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """uint64 (T - length + 1,): of every window, the same for the same tokens wherever they stand."""
    if len(tokens) < length:
        return np.empty(0, np.uint64)
    powers = np.ones(len(tokens), np.uint64)
    powers[1:] = np.uint64(_BASE)
    inverse = np.ones(len(tokens) - length + 1, np.uint64)
    inverse[1:] = np.uint64(_INVERSE)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum((tokens + np.uint64(1)) * np.cumprod(powers), dtype=np.uint64)))
    return (sums[length:] - sums[: len(sums) - length]) * np.cumprod(inverse)
