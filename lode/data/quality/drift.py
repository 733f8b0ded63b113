"""How far a part's cells are from those of training: population stability index, Kolmogorov-Smirnov or total variation, on the sample.

PSI = sum over bins of (p - q) ln(p / q), bins being tenths of both parts together or their most frequent words, empty cells apart. Where
nothing differs PSI is about (bins - 1)(1/n + 1/m) by chance alone, and PSI / (1/n + 1/m) is close to chi squared with bins - 1 degrees of
freedom (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020): from there comes `p`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lode.data.quality.counting import PART
from lode.data.quality.figures import Column
from lode.data.split import PARTS

_NUM_BINS = 10
_MAX_WORDS = 20
_HALF_ROW = 0.5
"""Added to every bin, so that an empty one does not give an infinite index."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A column's cells of one part. known: ascending measures, float64; of words the rows of each word, int64. empty: rows."""

    known: np.ndarray
    empty: int
    are_words: bool

    @property
    def rows(self) -> int:
        """Empty cells included."""
        return (int(self.known.sum()) if self.are_words else len(self.known)) + self.empty


def parted(sample: pl.DataFrame, columns: Sequence[Column]) -> list[dict[str, Cells]]:
    """The sample's cells of each part, every column as it is compared: words counted, of others what is long or short about them."""
    cells = sample.select(
        PART, *(column.value if column.kind == "word" else column.measure.alias(column.name) for column in columns)
    )
    words = {column.name: as_enum(cells[column.name]) for column in columns if column.kind == "word"}
    num_words = {name: len(enum.dtype.categories) for name, enum in words.items() if isinstance(enum.dtype, pl.Enum)}
    # The code after all words stands for empty cells.
    cells = cells.with_columns(
        enum.to_physical().cast(pl.UInt32).fill_null(num_words[name]).alias(name) for name, enum in words.items()
    )
    parts = (cells.filter(pl.col(PART) == code) for code in range(len(PARTS)))
    return [{column.name: _cells(part[column.name], num_words.get(column.name)) for column in columns} for part in parts]


def _cells(column: pl.Series, num_words: int | None) -> Cells:
    if num_words is not None:
        counts = np.bincount(column.to_numpy(), minlength=num_words + 1)
        return Cells(counts[:-1], int(counts[-1]), True)
    empty = column.null_count()
    return Cells(np.sort(column.to_numpy())[: len(column) - empty], empty, False)  # empty cells are NaN, and so the last


def between(train: Cells, other: Cells) -> dict[str, float] | None:
    """`psi`, what chance alone would give (`chance`), how likely it is (`p`), `distance` (KS for measures, total variation for words).

    train, other: the same column of two of the parts that `parted` gave.
    """
    if not train.rows or not other.rows:
        return None
    if train.are_words:
        counts = _word_counts(train, other)
        distance = _variation(*counts)
    else:
        counts = _measure_counts(train.known, other.known, (train.empty, other.empty))
        distance = _kolmogorov(train.known, other.known)
    psi, chance = _stability(*counts)
    freedom = max(len(counts[0]) - 1, 1)
    scale = 1 / train.rows + 1 / other.rows
    return {"psi": psi, "chance": chance, "p": _chi_squared_tail(psi / scale, freedom), "distance": distance}


def as_enum(cells: pl.Series) -> pl.Series:
    """Words as an Enum of those that there are, in their order."""
    if isinstance(cells.dtype, pl.Enum):
        return cells
    words = cells.cast(pl.String)
    return words.cast(pl.Enum(words.unique().drop_nulls().sort()))


def _word_counts(train: Cells, other: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the most frequent words of both parts (training's own would look too frequent there), of all others, of empty cells."""
    most = np.argsort(-(train.known + other.known), kind="stable")[:_MAX_WORDS]
    found = [
        np.array([*part.known[most], part.known.sum() - part.known[most].sum(), part.empty], dtype=np.float64)
        for part in (train, other)
    ]
    return _seen(*found)


def _measure_counts(train: np.ndarray, other: np.ndarray, empty: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows between the tenths of both, and of empty cells. train, other: ascending."""
    both = np.sort(np.concatenate([train, other]), kind="stable")
    tenths = np.ceil(np.linspace(0, 1, _NUM_BINS + 1)[1:-1] * (len(both) - 1)).astype(np.int64)
    edges = np.unique(both[tenths]) if len(both) else both
    found = [
        np.array([*np.diff(np.searchsorted(cells, edges), prepend=0, append=len(cells)), missing], dtype=np.float64)
        for cells, missing in zip((train, other), empty, strict=True)
    ]
    return _seen(*found)


def _seen(train: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the bins that are empty in both."""
    used = (train + other) > 0
    return train[used], other[used]


def _stability(train: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """PSI and its mean where nothing differs."""
    p, q = ((rows + _HALF_ROW) / (rows + _HALF_ROW).sum() for rows in (train, other))
    chance = (len(train) - 1) * (1 / max(train.sum(), 1) + 1 / max(other.sum(), 1))
    return float(((p - q) * np.log(p / q)).sum()), float(chance)


def _variation(train: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(train / train.sum() - other / other.sum()).sum() / 2)


def _kolmogorov(train: np.ndarray, other: np.ndarray) -> float:
    """Largest distance between the two empirical distributions of the cells that are not empty. train, other: ascending."""
    if not len(train) or not len(other):
        return 0.0
    return max(_largest_lead(train, other), _largest_lead(other, train))


def _largest_lead(cells: np.ndarray, others: np.ndarray) -> float:
    """By how much the share of `cells` up to a value exceeds that of `others`, at most: at one of the cells. Both ascending."""
    last = np.append(cells[1:] != cells[:-1], True)
    shares = (np.flatnonzero(last) + 1) / len(cells)
    return float((shares - np.searchsorted(others, cells[last], "right") / len(others)).max())


def _chi_squared_tail(value: float, freedom: int) -> float:
    """Probability that chi squared of so many degrees of freedom is larger (Abramowitz and Stegun 26.4.4 and 26.4.5).

    scipy has it too, and takes longer to import than everything else of a profile together.
    """
    if value <= 0:
        return 1.0
    half, start = value / 2, 0.5 * (freedom % 2)
    logs = (place * math.log(half) - half - math.lgamma(place + 1) for place in np.arange(start, freedom / 2))
    first = math.erfc(math.sqrt(half)) if start else 0.0
    return min(1.0, first + sum(math.exp(log) for log in logs))
