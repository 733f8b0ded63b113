"""Noise on numbers, series, pictures and recordings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl

from lode.core.types import ColumnSchema, Range
from lode.data.formats import decoding
from lode.pipeline.damage import Damage, each_known, picture, recording

_TYPES = ("number", "series", "image", "audio")


class Noise(Damage):
    """Normal noise on all that is measured.

    Args:
        deviation: Its standard deviation: of numbers and series as a share of theirs over the judged rows, of pictures as a share of
            full white, of recordings as a share of each one's own root mean square (0.1 is 20 dB below it).
    """

    says: ClassVar[str] = "noise"

    def __init__(
        self, column: ColumnSchema, cells: pl.Series, *, deviation: Annotated[float, Range(0, open_low=True)] = 0.1
    ) -> None:
        self.type, self.deviation = column.type, deviation
        self.spread = deviation * _spread(cells) if column.type in ("number", "series") else 0.0

    @staticmethod
    def accepts(column: ColumnSchema) -> bool:
        return column.type in _TYPES

    def apply(self, cells: pl.Series, generator: np.random.Generator) -> pl.Series:
        if self.type == "number":
            return cells + pl.Series(generator.normal(0.0, self.spread, len(cells)))
        changes = {"series": self._series, "image": self._picture, "audio": self._recording}
        return each_known(cells, lambda cell: changes[self.type](cell, generator))

    def _series(self, cell: Any, generator: np.random.Generator) -> list[float | None]:
        noise = generator.normal(0.0, self.spread, len(cell)).tolist()
        return [None if step is None else step + more for step, more in zip(cell, noise, strict=True)]

    def _picture(self, cell: Any, generator: np.random.Generator) -> bytes:
        pixels = picture(cell)
        noisy = pixels + generator.normal(0.0, 255 * self.deviation, pixels.shape)
        return decoding.to_npy(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))

    def _recording(self, cell: Any, generator: np.random.Generator) -> bytes:
        def noisy(samples: np.ndarray) -> np.ndarray:
            loudness = float(np.sqrt(np.square(samples).mean())) if samples.size else 0.0
            return samples + generator.normal(0.0, self.deviation * loudness, samples.shape)

        return recording(cell, noisy)


def _spread(cells: pl.Series) -> float:
    """Standard deviation of all numbers in the cells; 0 where there are none."""
    flat = cells.explode() if isinstance(cells.dtype, pl.List) else cells
    numbers = flat.drop_nulls().to_numpy().astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.std()) if len(numbers) else 0.0
