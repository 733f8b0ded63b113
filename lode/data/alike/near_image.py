"""Pictures that show the same: copies in another size, format, quality or brightness, slightly cut or blurred.

A perceptual hash (signs of the lowest frequencies of a 32 x 32 gray copy: Zauner 2010, "Implementation and benchmarking of perceptual
image hash functions") puts likely pairs into one bucket by samples of its bits (Indyk, Motwani 1998); each pair is then compared by the
correlation of 16 x 16 gray copies. 264 bytes are kept per picture. Used by the cleaner `duplicates`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from lode.data.alike.buckets import Pairs, decoded, distinct, pairs_in_buckets
from lode.data.contracts import ROW
from lode.data.formats import decoding

THRESHOLD = 0.95

_BATCH_ROWS = 1_024
_SIDE, _KEPT, _LOW = 32, 16, 8
_NUM_BANDS, _BAND_BITS = 32, 14
_MAX_BITS = 14
"""Pairs whose hashes differ in more bits are not compared."""
_FLAT = 2.0
"""Pictures whose grays differ less (standard deviation, of 255) have no shape to compare."""
_NOTHING = 1.0
"""Frequencies so weak are rounding errors: plain pictures must have one hash."""
_BLOCK = 1 << 16


def find_near_images(rows: pl.LazyFrame, column: str, threshold: float = THRESHOLD, seed: int = 0) -> Pairs:
    """Pairs of rows whose pictures are near duplicates; left, right: `__row__`. Cells that are no pictures are like no other.

    column: of encoded pictures (PNG, JPEG, GIF, BMP, WebP or NPY bytes). threshold: least correlation, up to 1.
    """
    numbers, hashes, small = _looked_at(rows.select(ROW, column), column)
    rng = np.random.default_rng(seed)
    # More pictures need longer keys, so that buckets of strangers stay small.
    num_bits = max(_BAND_BITS, len(hashes).bit_length() - 4)
    samples = np.stack([rng.permutation(64)[:num_bits] for _ in range(_NUM_BANDS)])
    found = [np.empty(0, np.uint64)]
    following = _keys(hashes, samples[0])
    for band in range(_NUM_BANDS):
        keys, following = following, _keys(hashes, samples[(band + 1) % _NUM_BANDS])
        pairs = pairs_in_buckets(keys, following)
        left, right = decoded(pairs)
        found = [distinct(np.concatenate([*found, pairs[np.bitwise_count(hashes[left] ^ hashes[right]) <= _MAX_BITS]]))]
    left, right = decoded(found[0])
    similarity = np.concatenate([np.empty(0), *_correlations(small, left, right)])
    near = similarity >= threshold
    return Pairs.join([Pairs(numbers[left[near]], numbers[right[near]], similarity[near].astype(np.float32))])


def perceptual_hashes(pictures: np.ndarray) -> np.ndarray:
    """uint64 (N,) of gray pictures, uint8 (N, 32, 32): bit set where a low frequency is above the picture's median one."""
    place = np.arange(_SIDE) + 0.5
    basis = np.cos(np.pi / _SIDE * np.outer(np.arange(_LOW), place)).astype(np.float32)
    frequencies = (basis @ pictures.astype(np.float32) @ basis.T).reshape(len(pictures), _LOW * _LOW)
    frequencies[:, 0] = 0.0
    frequencies[np.abs(frequencies) < _NOTHING] = 0.0
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _looked_at(rows: pl.LazyFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers uint64 (N,), hashes uint64 (N,) and small copies uint8 (N, 256) of the cells that are pictures."""
    numbers, hashes = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    small = [np.empty((0, _KEPT * _KEPT), np.uint8)]
    for batch in rows.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
        cells = [cell if cell is not None else b"" for cell in batch[column].cast(pl.Binary).to_list()]
        found = decoding.each(lambda cell: decoding.decode(cell, _SIDE, _SIDE, 1), cells)
        known = [place for place, picture in enumerate(found) if picture is not None]
        if not known:
            continue
        pictures = np.stack([picture for picture in found if picture is not None])[:, :, :, 0]
        numbers.append(batch[ROW].to_numpy()[known])
        hashes.append(perceptual_hashes(pictures))
        step = _SIDE // _KEPT
        means = pictures.reshape(len(known), _KEPT, step, _KEPT, step).mean(axis=(2, 4))
        small.append(means.round().astype(np.uint8).reshape(len(known), -1))
    return np.concatenate(numbers), np.concatenate(hashes), np.concatenate(small)


def _keys(hashes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """uint32 (N,): these bits of each hash."""
    keys = np.zeros(len(hashes), np.uint32)
    for bit in bits:
        keys = (keys << np.uint32(1)) | ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.uint32)
    return keys


def _correlations(small: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """float64 of each pair, in blocks. Two pictures without shape are alike as far as their grays are."""
    found = []
    for start in range(0, len(left), _BLOCK):
        a, b = (small[places[start : start + _BLOCK]].astype(np.float32) for places in (left, right))
        mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
        a, b = a - mean_a[:, None], b - mean_b[:, None]
        spread_a, spread_b = np.sqrt(np.mean(a * a, axis=1)), np.sqrt(np.mean(b * b, axis=1))
        alike = np.mean(a * b, axis=1) / np.maximum(spread_a * spread_b, 1e-6)
        flat_a, flat_b = spread_a < _FLAT, spread_b < _FLAT
        alike = np.where(flat_a | flat_b, np.where(flat_a & flat_b, 1.0 - np.abs(mean_a - mean_b) / 255.0, 0.0), alike)
        found.append(np.minimum(alike, 1.0).astype(np.float64))
    return found
