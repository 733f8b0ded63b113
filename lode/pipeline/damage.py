"""The contract of a damage: what happens to raw cells in production. Read `lode/pipeline/robustness.py` next.

Raw cells are damaged, not tensors: every family and every preprocessing is judged as it is served.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import polars as pl
import soundfile

from lode.core.types import ColumnSchema
from lode.data.formats import decoding


class Damage(ABC):
    """One way in which the cells of an input go wrong.

    `__init__(self, column, cells, *, ...)`: the input, its cells in all judged rows (to learn a spread from), then options with
    defaults. says: what happened, in words that end "Loses most with ...". each: inputs are damaged one at a time, not all at once.
    moves: parts of a cell change their places, so that labels of the parts would no longer fit (outputs that are tags).
    """

    says: ClassVar[str]
    each: ClassVar[bool] = False
    moves: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def accepts(column: ColumnSchema) -> bool:
        """Whether such an input can be damaged like that."""

    @abstractmethod
    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        """The damaged cells (N,), of the same type; missing ones stay missing. Everything random comes from the generator."""


def struck_cells(cells: pl.Series, share: float, generator: np.random.Generator) -> pl.Series:
    """Which cells are struck: Boolean (N,), each with probability `share`."""
    return pl.Series(generator.random(len(cells)) < share)


def each_known(cells: pl.Series, work: Callable[[object], object]) -> pl.Series:
    """work(cell) of every cell that is not missing."""
    return pl.Series(cells.name, [None if cell is None else work(cell) for cell in cells.to_list()], dtype=cells.dtype)


def picture(cell: bytes) -> np.ndarray:
    """uint8 (H, W, 1 or 3) of a picture cell in its own size."""
    seen = decoding.look(cell)
    array = None if seen is None else decoding.decode(cell, seen[0], seen[1], 1 if seen[2] else 3)
    # The data stage has dropped rows whose picture cannot be read.
    assert array is not None, "a picture of the test rows can be read"
    return array


def recording(cell: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """WAV bytes of change(samples), float64 (L, channels) from -1 to 1, clipped."""
    samples, rate = soundfile.read(io.BytesIO(cell), dtype="float64", always_2d=True)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(change(samples), -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
