"""Pictures as uint8 arrays of one size. Decoding is in lode/data/formats/decoding.py; read lode/data/contracts.py first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.formats import decoding

_DEFAULT_SIDE = 64
_MAX_OWN_SIDE = 64
_FLAT_SIDE = 8
_CHUNK_ROWS = 1_024
_CHUNK_BYTES = 32 * 2**20
_SAMPLE_ROWS = 2_000
_KEPT_PICTURES = 128


class Image(Feature):
    """A picture: PNG, JPEG, GIF (its first frame), BMP or WebP bytes, uint8 NPY bytes, or the base64 text of those.

    Squashed to one size whatever its aspect, turned as its EXIF orientation says, transparency on white. Damaged pictures, and those
    of more than 50 million pixels, are rejected. A missing one is the average colour.

    Args:
        height: in pixels; without it, the most common size in training if it is at most 64 x 64, else 64.
        width: in pixels; without it, as for the height.
        mode: "gray", "rgb" or, by what the training pictures are, "auto".
    """

    kind: ClassVar[Literal["binary"]] = "binary"
    expects: ClassVar[str] = "a PNG, JPEG, GIF, BMP or WebP image of at most 50 million pixels"

    def __init__(
        self,
        *,
        height: Annotated[int, Range(1, 4096)] | None = None,
        width: Annotated[int, Range(1, 4096)] | None = None,
        mode: Literal["auto", "gray", "rgb"] = "auto",
    ) -> None:
        self.height, self.width, self.mode = height, width, mode
        self._size = (height or width or _DEFAULT_SIDE, width or height or _DEFAULT_SIDE, 1 if mode == "gray" else 3)
        self._mean: tuple[float, ...] = (0.0,) * self._size[2]
        self._deviation: tuple[float, ...] = (255.0,) * self._size[2]
        self._fresh()

    def _fresh(self) -> None:
        """A new memory of the last pictures: a request is looked at by `parse` and again by `transform`, and decoded once."""
        size = self._size
        num_kept = max(1, min(_KEPT_PICTURES, _CHUNK_BYTES // int(np.prod(size))))
        self._decode_kept = lru_cache(maxsize=num_kept)(lambda cell: decoding.decode(cell, *size))

    def parse(self, column: pl.Series) -> pl.Series:
        dtype = column.dtype
        if dtype not in (pl.Binary, pl.String, pl.Object):
            return pl.Series(column.name, [None] * len(column), dtype=pl.Binary)
        parts = [self._parsed(chunk) for chunk in _chunks(column, _CHUNK_ROWS)]
        if all(part is None for part in parts):
            return column
        chunks = zip(parts, _chunks(column, _CHUNK_ROWS), strict=True)
        return pl.concat([chunk if part is None else part for part, chunk in chunks])

    def _parsed(self, column: pl.Series) -> pl.Series | None:
        """Binary cells, null where they cannot be decoded; None where the column may stay as it is."""
        found = column.to_list()
        if column.dtype != pl.Binary:
            found = [decoding.from_base64(cell) if isinstance(cell, str) else cell for cell in found]
            found = [cell if isinstance(cell, bytes) else None for cell in found]
        known = [cell for cell in found if cell is not None]
        fine = iter(self._decodable(known))
        kept = [cell if cell is not None and next(fine) else None for cell in found]
        if column.dtype == pl.Binary and kept.count(None) == column.null_count():
            return None
        return pl.Series(column.name, kept, dtype=pl.Binary)

    def _decodable(self, known: Sequence[bytes]) -> list[bool]:
        if decoding.stack_same(known) is not None:
            return [True] * len(known)
        if len(known) <= cells.FEW_ROWS:
            return [array is not None for array in self._decoded(known)]
        return decoding.each(lambda cell: decoding.decode(cell, *self._size) is not None, known)

    def _decoded(self, known: Sequence[bytes]) -> list[np.ndarray | None]:
        if len(known) <= cells.FEW_ROWS:
            return decoding.each(self._decode_kept, known)
        return decoding.each(lambda cell: decoding.decode(cell, *self._size), known)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Size and mode of the pictures, mean and deviation of each channel: from at most 2,000 spread over the column."""
        known = column.drop_nulls()
        sample = known.gather_every(-(-len(known) // _SAMPLE_ROWS) or 1)
        self._size = self._chosen_size([seen for seen in decoding.each(decoding.look, sample.to_list()) if seen])
        self._fresh()
        histogram = np.zeros((self._size[2], 256), dtype=np.int64)
        for chunk in _chunks(sample, self._chunk_rows):
            array = self._arrays(chunk.to_list())
            for channel in range(self._size[2]):
                histogram[channel] += np.bincount(array[..., channel].ravel(), minlength=256)
        self._mean, self._deviation = _moments(histogram)

    def _chosen_size(self, seen: Sequence[tuple[int, int, bool]]) -> tuple[int, int, int]:
        sizes = Counter((height, width) for height, width, _ in seen)
        common = min(sizes, key=lambda size: (-sizes[size], size)) if sizes else (_DEFAULT_SIDE, _DEFAULT_SIDE)
        if max(common) > _MAX_OWN_SIDE:
            common = (_DEFAULT_SIDE, _DEFAULT_SIDE)
        gray = self.mode == "gray" or (self.mode == "auto" and bool(seen) and all(is_gray for _, _, is_gray in seen))
        height, width = self.height or self.width or common[0], self.width or self.height or common[1]
        return height, width, 1 if gray else 3

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    @property
    def _chunk_rows(self) -> int:
        return max(16, min(_CHUNK_ROWS, _CHUNK_BYTES // int(np.prod(self._size))))

    def transform(self, column: pl.Series) -> np.ndarray:
        if len(column) <= self._chunk_rows:
            return self._arrays(column.to_list())
        array = np.empty((len(column), *self._size), dtype=np.uint8)
        start = 0
        for chunk in _chunks(column, self._chunk_rows):
            array[start : start + len(chunk)] = self._arrays(chunk.to_list())
            start += len(chunk)
        return array

    def _arrays(self, found: Sequence[bytes | None]) -> np.ndarray:
        """uint8 (N, H, W, C); the average colour where there is no picture."""
        known = [cell for cell in found if cell is not None]
        if len(known) == len(found) and (same := decoding.stack_same(known)) is not None:
            return decoding.fit_array(same, *self._size)
        array = np.empty((len(found), *self._size), dtype=np.uint8)
        decoded = iter(self._decoded(known))
        average = np.rint(self._mean).astype(np.uint8)
        for place, cell in enumerate(found):
            picture = None if cell is None else next(decoded)
            array[place] = average if picture is None else picture
        return array

    def inverse(self, array: np.ndarray) -> pl.Series:
        """NPY bytes, which `parse` reads too."""
        return pl.Series([decoding.to_npy(picture) for picture in array], dtype=pl.Binary)

    @property
    def spec(self) -> TensorSpec:
        scale = tuple(1.0 / deviation for deviation in self._deviation)
        return TensorSpec("uint8", self._size, offset=self._mean, scale=scale)

    @property
    def flat_spec(self) -> FlatSpec:
        height, width, num_channels = _pooled_size(self._size)
        names = [f"{y}.{x}" for y in range(height) for x in range(width)]
        if num_channels > 1:
            names = [f"{name}.{channel}" for name in names for channel in ("red", "green", "blue")]
        return FlatSpec(tuple(names), (0,) * len(names))

    def flat(self, column: pl.Series) -> np.ndarray:
        """Mean brightness, 0 to 1, of at most 8 x 8 cells per channel; NaN where there is no picture."""
        height, width, num_channels = _pooled_size(self._size)
        matrix = np.empty((len(column), height * width * num_channels), dtype=np.float32)
        start = 0
        for chunk in _chunks(column, self._chunk_rows):
            pooled = _pooled(self.transform(chunk), height, width)
            if chunk.has_nulls():
                pooled[chunk.is_null().to_numpy()] = np.nan
            matrix[start : start + len(chunk)] = pooled
            start += len(chunk)
        return matrix

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        return {"size": list(self._size), "mean": list(self._mean), "deviation": list(self._deviation)}

    def restore(self, state: State) -> None:
        height, width, num_channels = (int(size) for size in state["size"])
        self._size = (height, width, num_channels)
        self._mean = tuple(float(value) for value in state["mean"])
        self._deviation = tuple(float(value) for value in state["deviation"])
        self._fresh()


def _chunks(column: pl.Series, num_rows: int) -> Iterator[pl.Series]:
    for start in range(0, max(len(column), 1), num_rows):
        yield column.slice(start, num_rows)


def _moments(histogram: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel from int64 (C, 256) counts: the same whatever the order of the pictures."""
    count = np.maximum(histogram.sum(axis=1), 1)
    level = np.arange(256, dtype=np.int64)
    mean = (histogram * level).sum(axis=1) / count
    square = (histogram * level * level).sum(axis=1) / count
    deviation = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return tuple(mean.tolist()), tuple(np.where(deviation < 1.0, 255.0, deviation).tolist())


def _pooled_size(size: tuple[int, int, int]) -> tuple[int, int, int]:
    return min(size[0], _FLAT_SIDE), min(size[1], _FLAT_SIDE), size[2]


def _pooled(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 (N, height * width * C), 0 to 1: means over cells as equal as they can be. Sums are of integers, so exact."""
    num_rows, full_height, full_width, num_channels = array.shape
    tops, lefts = _edges(full_height, height), _edges(full_width, width)
    lines = array.reshape(num_rows, full_height, full_width * num_channels)
    # At most 256 rows of at most 255: fits 16 bits.
    bands = np.stack([lines[:, top:end].sum(axis=1, dtype=np.uint16) for top, end in pairwise(tops)], axis=1)
    bands = bands.reshape(num_rows, height, full_width, num_channels)
    sums = np.stack([bands[:, :, left:end].sum(axis=2, dtype=np.uint32) for left, end in pairwise(lefts)], axis=2)
    areas = np.outer(np.diff(tops), np.diff(lefts))
    means = sums / (255.0 * areas[None, :, :, None])
    return means.astype(np.float32).reshape(num_rows, height * width * num_channels)


def _edges(full: int, parts: int) -> list[int]:
    """Where each part starts, and the end."""
    return [part * full // parts for part in range(parts + 1)]
