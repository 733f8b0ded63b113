"""Texts that say nearly the same: MinHash signatures put likely pairs into one bucket, and each pair is then compared exactly.

Broder 1997, "On the resemblance and containment of documents"; buckets by bands of a signature: Leskovec, Rajaraman, Ullman, "Mining
of Massive Datasets", 3.4. Per row some 100 bytes are kept, never its text. Used by the cleaner `duplicates` and by findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from lode.data.alike.buckets import Pairs, components, decoded, distinct, pairs_in_buckets, passes
from lode.data.alike.shingles import NUM_BITS, normalised, shingles, slices
from lode.data.contracts import ROW
from lode.data.threads import team

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIZES = {"characters": 5, "words": 3}
"""Length of a shingle where none is named."""

_RECALL = 0.99
"""Chance that a pair exactly at the threshold is compared; it is nearer to 1 for more similar ones."""
_SLICE_BYTES = 1 << 20
_CACHED = 1 << 16
"""Text worked on at a time by a thread; shingles hashed at a time, which stay in the processor's cache."""
_MIN_THREADED = 1 << 30
_TEXT = "text"
_WHOLE_SEED = 5
_KEY_FACTOR = np.uint32(0x9E3779B1)
_MAX_PENDING = 1 << 24
_BLOCK = 1 << 19
"""Pairs that wait to be compared; shingles compared at a time."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """When two texts are nearly the same.

    threshold: least Jaccard similarity of their sets of shingles, 0 to 1. by, size: what a shingle is (None: 5 characters or 3 words).
    num_hashes: length of a signature; more find more of the pairs at the threshold. seed: of the hash functions.
    """

    threshold: float = 0.8
    by: Literal["characters", "words"] = "characters"
    size: int | None = None
    num_hashes: int = 128
    seed: int = 0

    @property
    def num_items(self) -> int:
        """Characters or words of a shingle."""
        return self.size or SIZES[self.by]

    @property
    def band_rows(self) -> int:
        """Hashes per band: as many as find a pair at the threshold with a chance of 99 %; more of them mean fewer needless comparisons."""
        rows = 1
        while rows < self.num_hashes and self._recall(rows + 1) >= _RECALL:
            rows += 1
        return rows

    def _recall(self, rows: int) -> float:
        return float(1.0 - (1.0 - self.threshold**rows) ** (self.num_hashes // rows))


def near_pairs(
    texts: pl.Series,
    threshold: float = 0.8,
    *,
    by: Literal["characters", "words"] = "characters",
    size: int | None = None,
    num_hashes: int = 128,
    seed: int = 0,
) -> pl.DataFrame:
    """Pairs of near-duplicate texts: `left`, `right` (UInt64 positions, left < right) and `similarity` (Float32, at least `threshold`).

    Of texts that are equal (but for case and white space) each is paired with the first, and only the first with others that are near.
    Blank and missing texts are like no other.
    """
    rows = pl.DataFrame({ROW: pl.Series(range(len(texts)), dtype=pl.UInt64), "text": texts}).lazy()
    likeness = Likeness(threshold=threshold, by=by, size=size, num_hashes=num_hashes, seed=seed)
    pairs = find_near_texts(rows, ["text"], likeness)
    return pl.DataFrame({"left": pairs.left, "right": pairs.right, "similarity": pairs.similarity})


def near_groups(texts: pl.Series, threshold: float = 0.8) -> pl.Series:
    """The group of every text, UInt32 (N,): equal numbers for texts that a chain of near duplicates joins."""
    pairs = near_pairs(texts, threshold)
    found = components(len(texts), pairs["left"].to_numpy().astype(np.int64), pairs["right"].to_numpy().astype(np.int64))
    return pl.Series("group", found).cast(pl.UInt32)


def find_near_texts(rows: pl.LazyFrame, columns: Sequence[str], likeness: Likeness) -> Pairs:
    """Near-duplicate rows by their texts (several columns are read as one text), in bounded memory; `rows` is read two times or more.

    left, right: `__row__` of the two.
    """
    text = pl.concat_str([pl.col(name).cast(pl.String) for name in columns], separator="\n", ignore_nulls=True)
    rows = rows.select(ROW, normalised(text).alias(_TEXT))
    sketches = _sketched(rows, likeness)
    same, first = sketches.equal()
    found = [Pairs(sketches.numbers[same], sketches.numbers[first], np.ones(len(same), np.float32))]
    is_first = np.ones(len(sketches.numbers), dtype=bool)
    is_first[same] = False
    firsts = np.flatnonzero(is_first)
    for candidates in _candidates(sketches, is_first):
        left, right = decoded(candidates)
        for portion in passes(rows, sketches.numbers, sketches.lengths, firsts[left], firsts[right]):
            sets = _sets(portion.rows, likeness)
            assert sets.shape[0] == len(portion.numbers), "the same rows must come again"
            found.append(portion.near(_jaccard(sets, portion.left, portion.right, likeness.threshold), likeness.threshold))
    return Pairs.join(found)


@dataclass(frozen=True, slots=True)
class _Sketches:
    """Of every text that is not blank: row number uint64 (N,), hash of the whole text uint64 (N,), shingles uint32 (N,), and a key
    per band: one uint32 (B, n) per batch.
    """

    numbers: np.ndarray
    hashes: np.ndarray
    lengths: np.ndarray
    keys: list[np.ndarray]

    def equal(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of texts that are equal to an earlier one, and of that one."""
        order = np.argsort(self.hashes, kind="stable")
        ordered = self.hashes[order]
        starts = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(order) else np.empty(0, bool)
        first = order[starts][starts.cumsum() - 1] if len(order) else order
        return order[~starts], first[~starts]

    def band(self, index: int) -> np.ndarray:
        """uint32 (N,)"""
        return np.concatenate([np.empty(0, np.uint32), *(part[index] for part in self.keys)])


def _sketched(rows: pl.LazyFrame, likeness: Likeness) -> _Sketches:
    hasher = _Hasher(likeness)
    parts = [(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty((hasher.num_bands, 0), np.uint32))]
    with team(_MIN_THREADED) as together:
        for batch in rows.collect_batches(maintain_order=True):
            parts += together(hasher.sketch, slices(batch, _TEXT, _SLICE_BYTES))
    numbers, hashes, lengths = (np.concatenate([part[index] for part in parts]) for index in range(3))
    return _Sketches(numbers, hashes, lengths, [part[3] for part in parts])


class _Hasher:
    """num_hashes random permutations of shingles, x -> a * x + b modulo 2 ** 32."""

    def __init__(self, likeness: Likeness) -> None:
        self.likeness = likeness
        self.num_rows = likeness.band_rows
        self.num_bands = likeness.num_hashes // self.num_rows
        rng = np.random.default_rng(likeness.seed)
        self.factors = rng.integers(0, 1 << 32, self.num_bands * self.num_rows, dtype=np.uint32) | np.uint32(1)
        self.offsets = rng.integers(0, 1 << 32, len(self.factors), dtype=np.uint32)

    def sketch(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row numbers, hashes of whole texts, numbers of shingles (n,) and keys (B, n) of the texts that are not blank."""
        texts = frame[_TEXT]
        found = shingles(texts, self.likeness.by, self.likeness.num_items)
        known = found.lengths > 0
        lengths = found.lengths[known]
        keys = np.zeros((self.num_bands, len(lengths)), np.uint32)
        values, ends = found.values.view(np.uint32), lengths.cumsum()
        starts = ends - lengths
        cuts = (np.flatnonzero(np.diff(ends // _CACHED)) + 1).tolist()
        for low, high in zip([0, *cuts], [*cuts, len(ends)], strict=True):
            if high > low:
                self._fill(keys[:, low:high], values[starts[low] : ends[high - 1]], starts[low:high] - starts[low])
        return frame[ROW].to_numpy()[known], texts.hash(_WHOLE_SEED).to_numpy()[known], lengths.astype(np.uint32), keys

    def _fill(self, keys: np.ndarray, values: np.ndarray, starts: np.ndarray) -> None:
        """keys: uint32 (B, n). values: uint32 (S,), the shingles of n texts, which begin at `starts`."""
        hashed, least = np.empty_like(values), np.empty(len(starts), np.uint32)
        for index, (factor, offset) in enumerate(zip(self.factors, self.offsets, strict=True)):
            np.multiply(values, factor, out=hashed)
            np.add(hashed, offset, out=hashed)
            np.minimum.reduceat(hashed, starts, out=least)
            key = keys[index // self.num_rows]
            key *= _KEY_FACTOR
            key ^= least ^ (least >> np.uint32(15))


def _candidates(sketches: _Sketches, is_first: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs that share a bucket, coded as places among the different texts; each once in a yield."""
    pending = np.empty(0, np.uint64)
    num_bands = len(sketches.keys[0])
    keys = sketches.band(0)[is_first]
    for index in range(num_bands):
        following = sketches.band((index + 1) % num_bands)[is_first]
        pending = distinct(np.concatenate([pending, pairs_in_buckets(keys, following)]))
        keys = following
        if len(pending) > _MAX_PENDING:
            yield pending
            pending = pending[:0]
    yield pending


def _sets(rows: pl.LazyFrame, likeness: Likeness) -> csr_matrix:
    """The different shingles of each row, as columns of a sparse matrix."""
    from scipy.sparse import csr_matrix  # 0.4 s to import: only who has found candidates needs it

    parts: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.int32), np.empty(0, np.int64))]
    with team(_MIN_THREADED) as together:
        for batch in rows.collect_batches(maintain_order=True):
            parts += together(lambda frame: _distinct(frame, likeness), slices(batch, _TEXT, _SLICE_BYTES))
    values, lengths = (np.concatenate([part[index] for part in parts]) for index in range(2))
    ends = np.concatenate([[0], lengths.cumsum()])
    sets = csr_matrix((np.ones(len(values), np.int8), values, ends), shape=(len(lengths), 1 << NUM_BITS))
    sets.has_canonical_format = True
    return sets


def _distinct(frame: pl.DataFrame, likeness: Likeness) -> tuple[np.ndarray, np.ndarray]:
    """Different shingles of each row in ascending order, int32, and how many."""
    found = shingles(frame[_TEXT], likeness.by, likeness.num_items)
    owner = np.repeat(np.arange(frame.height, dtype=np.int64), found.lengths)
    keys = np.sort((owner << NUM_BITS) | found.values)
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    lengths = np.bincount(keys >> NUM_BITS, minlength=frame.height)
    return (keys & ((1 << NUM_BITS) - 1)).astype(np.int32), lengths


def _jaccard(sets: csr_matrix, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """float64 (P,): shared shingles over all of the two; 0 where the sizes alone say that it is below the threshold."""
    sizes = np.diff(sets.indptr)
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    found = np.zeros(len(left))
    possible = np.flatnonzero(small >= threshold * large)
    blocks = (sizes[left] + sizes[right])[possible].astype(np.int64).cumsum() // _BLOCK

    def compare(places: np.ndarray) -> None:
        shared = np.diff(sets[left[places]].multiply(sets[right[places]]).indptr)
        found[places] = shared / (small[places] + large[places] - shared)

    with team(_MIN_THREADED) as together:
        together(compare, np.split(possible, np.flatnonzero(np.diff(blocks)) + 1))
    return found
