"""How far a part's cells are from those of training: population stability index, Kolmogorov-Smirnov or total variation, on the sample.

PSI = sum over bins of (p - q) ln(p / q), bins being tenths of both parts together or their most frequent words, empty cells apart. Where
nothing differs PSI is about (bins - 1)(1/n + 1/m) by chance alone, and PSI / (1/n + 1/m) is close to chi squared with bins - 1 degrees of
freedom (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020): from there comes `p`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.special import chdtrc

from lode.data.quality.figures import PART, Column
from lode.data.split import PARTS, TRAIN

_NUM_BINS = 10
_MAX_WORDS = 20
_HALF_ROW = 0.5
"""Added to every bin, so that an empty one does not give an infinite index."""


def between(sample: pl.DataFrame, column: Column, part: str) -> dict[str, float] | None:
    """`psi`, what chance alone would give (`chance`), how likely it is (`p`), `distance` (KS for measures, total variation for words)."""
    cells = sample.select(PART, cell=column.value if column.kind == "word" else column.measure)
    train = cells.filter(pl.col(PART) == TRAIN)["cell"]
    other = cells.filter(pl.col(PART) == PARTS.index(part))["cell"]
    if not len(train) or not len(other):
        return None
    counts = _word_counts(train, other) if column.kind == "word" else _measure_counts(train, other)
    psi, chance = _stability(*counts)
    freedom = max(len(counts[0]) - 1, 1)
    distance = _variation(*counts) if column.kind == "word" else _kolmogorov(train, other)
    scale = 1 / len(train) + 1 / len(other)
    return {"psi": psi, "chance": chance, "p": float(chdtrc(freedom, psi / scale)), "distance": distance}


def _word_counts(train: pl.Series, other: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the most frequent words of both parts (training's own would look too frequent there), of all others, of empty cells."""
    known = pl.concat([train, other]).drop_nulls().value_counts(name="rows").sort("rows", descending=True).head(_MAX_WORDS)
    words = known.drop("rows").to_series()
    found = []
    for cells in (train, other):
        own = cells.drop_nulls().value_counts(name="rows")
        rows = known.select(words.name).join(own.rename({cells.name: words.name}), on=words.name, how="left", maintain_order="left")
        listed = rows["rows"].fill_null(0).to_numpy()
        found.append(np.array([*listed, len(cells) - cells.null_count() - listed.sum(), cells.null_count()], dtype=np.float64))
    return _seen(*found)


def _measure_counts(train: pl.Series, other: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Rows between the tenths of both, and of empty cells."""
    numbers = pl.concat([train, other]).drop_nulls().to_numpy()
    edges = (
        np.unique(np.quantile(numbers, np.linspace(0, 1, _NUM_BINS + 1)[1:-1], method="higher")) if len(numbers) else np.empty(0)
    )
    found = []
    for cells in (train, other):
        bins = np.searchsorted(edges, cells.drop_nulls().to_numpy(), side="right")
        found.append(np.append(np.bincount(bins, minlength=len(edges) + 1), cells.null_count()).astype(np.float64))
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


def _kolmogorov(train: pl.Series, other: pl.Series) -> float:
    """Largest distance between the two empirical distributions of the cells that are not empty."""
    a, b = (np.sort(cells.drop_nulls().to_numpy()) for cells in (train, other))
    if not len(a) or not len(b):
        return 0.0
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max())
