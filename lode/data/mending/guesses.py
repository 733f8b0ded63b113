"""Three ways to guess a missing cell from a row's other cells: along a curve, from the nearest training rows, by a linear model.

What they learn is plain arrays, and a row's guess never depends, to the bit, on the other rows of its batch: sums run over columns, in
order, never through a matrix product. Used by lode/data/cleaners/missing.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lode.data.cells import WordCodes, ranked_words

MAX_INPUTS = 256
"""Only so many other columns are looked at, the first ones."""
_MAX_WORDS = 30
_MAX_KNOTS = 10_000
_MAX_DISTANCES = 1 << 17
_PENALTY = 1.0


def as_numbers(column: pl.Series) -> np.ndarray:
    """float64 (N,), NaN where missing; moments in microseconds."""
    plain = column.to_physical() if column.dtype.is_temporal() else column
    return plain.cast(pl.Float64).to_numpy()


class Curve:
    """A number along another column: between two training points on the line that joins them, outside them the nearest point.

    along, values: float64 (K,), `along` ascending; at most 10,000 points, means of neighbours where there are more.
    """

    def __init__(self, along: np.ndarray, values: np.ndarray) -> None:
        self.along, self.values = along, values

    @classmethod
    def of(cls, along: np.ndarray, values: np.ndarray) -> Curve:
        """From training cells (N,), NaN where one is missing; equal places get their mean."""
        known = ~np.isnan(along) & ~np.isnan(values)
        places, where, counts = np.unique(along[known], return_inverse=True, return_counts=True)
        means = np.bincount(where, weights=values[known], minlength=len(places)) / counts if len(places) else np.empty(0)
        if len(places) > _MAX_KNOTS:
            starts = np.linspace(0, len(places), _MAX_KNOTS, endpoint=False).astype(np.int64)
            sizes = np.diff(np.append(starts, len(places)))
            places, means = np.add.reduceat(places, starts) / sizes, np.add.reduceat(means, starts) / sizes
        return cls(places, means)

    def guess(self, along: np.ndarray) -> np.ndarray:
        """float64 (M,), NaN where `along` (M,) is."""
        if not len(self.along):
            return np.full(len(along), np.nan)
        return np.where(np.isnan(along), np.nan, np.interp(np.nan_to_num(along), self.along, self.values))


@dataclass(frozen=True, slots=True)
class Encoding:
    """Other columns as numbers around 0 and codes of words.

    numbers: column -> (middle, size). words: column -> its most frequent words.
    """

    numbers: dict[str, tuple[float, float]]
    words: dict[str, list[str]]

    @classmethod
    def of(cls, sample: pl.DataFrame, numbers: Sequence[str], words: Sequence[str]) -> Encoding:
        scales = {}
        for name in numbers[:MAX_INPUTS]:
            known = as_numbers(sample[name])
            known = known[~np.isnan(known)]
            low, middle, high = np.quantile(known, (0.25, 0.5, 0.75)) if len(known) else (0.0, 0.0, 0.0)
            size = high - low or (known.std() if len(known) else 0.0) or 1.0
            scales[name] = (float(middle), float(size))
        chosen = words[: MAX_INPUTS - len(scales)]
        return cls(scales, {name: ranked_words(sample[name], 1, _MAX_WORDS) for name in chosen})

    def scaled(self, frame: pl.DataFrame, name: str) -> np.ndarray:
        """float64 (N,) in sizes from the middle, between -10 and 10; NaN where missing, or where the frame has no such column."""
        if name not in frame.columns:
            return np.full(frame.height, np.nan)
        middle, size = self.numbers[name]
        return np.clip((as_numbers(frame[name]) - middle) / size, -10.0, 10.0)

    def codes(self, frame: pl.DataFrame, name: str) -> np.ndarray:
        """int32 (N,): 0 where missing or rare."""
        if name not in frame.columns:
            return np.zeros(frame.height, dtype=np.int32)
        return WordCodes(self.words[name]).codes(frame[name].cast(pl.String))

    def state(self) -> dict[str, Any]:
        # Lists, for a saved mapping comes back in the order of its keys, and sums depend on the order.
        return {
            "numbers": [[name, *pair] for name, pair in self.numbers.items()],
            "words": [list(pair) for pair in self.words.items()],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Encoding:
        return cls(
            {name: (float(a), float(b)) for name, a, b in state["numbers"]}, {name: list(found) for name, found in state["words"]}
        )


class Nearest:
    """The training rows most like a row, over the cells that both know (Troyanskaya et al. 2001; distances as in nan_euclidean).

    scaled: float64 (R, D) of the reference rows, codes: int32 (R, C); a word that differs counts as one size.
    """

    def __init__(self, encoding: Encoding, scaled: np.ndarray, codes: np.ndarray, num_neighbours: int) -> None:
        self.encoding, self.scaled, self.codes, self.num_neighbours = encoding, scaled, codes, num_neighbours

    @classmethod
    def of(cls, sample: pl.DataFrame, encoding: Encoding, num_neighbours: int) -> Nearest:
        columns = [encoding.scaled(sample, name) for name in encoding.numbers]
        codes = [encoding.codes(sample, name) for name in encoding.words]
        return cls(
            encoding,
            _side_by_side(columns, sample.height, np.float64),
            _side_by_side(codes, sample.height, np.int32),
            num_neighbours,
        )

    def neighbours(self, frame: pl.DataFrame, without: str, known: np.ndarray) -> np.ndarray:
        """int64 (M, K): reference rows nearest to each row, -1 where there are fewer.

        without: the column that is guessed. known: bool (R,), the reference rows that know it.
        """
        chosen = np.flatnonzero(known)
        num = min(self.num_neighbours, len(chosen))
        if num == 0:
            return np.empty((frame.height, 0), dtype=np.int64)
        step = max(1, _MAX_DISTANCES // len(chosen))
        found = [self._nearest(frame[start : start + step], without, chosen, num) for start in range(0, frame.height, step)]
        return np.concatenate(found)

    def _nearest(self, frame: pl.DataFrame, without: str, chosen: np.ndarray, num: int) -> np.ndarray:
        total, shared = np.zeros((frame.height, len(chosen))), np.zeros((frame.height, len(chosen)))
        for place, name in enumerate(self.encoding.numbers):
            if name != without:
                gap = self.encoding.scaled(frame, name)[:, None] - self.scaled[chosen, place][None, :]
                gap *= gap
                unknown = np.isnan(gap)
                gap[unknown] = 0.0
                total += gap
                shared += ~unknown
        for place, name in enumerate(self.encoding.words):
            if name != without:
                own, other = self.encoding.codes(frame, name)[:, None], self.codes[chosen, place][None, :]
                both = (own > 0) & (other > 0)
                total += both & (own != other)
                shared += both
        distance = np.where(shared > 0, total / np.maximum(shared, 1.0), np.inf)
        # Sorted by place first, so that which of equally near rows come first does not hang on how they were partitioned.
        few = np.sort(np.argpartition(distance, num - 1, axis=1)[:, :num], axis=1)
        order = np.take_along_axis(few, np.argsort(np.take_along_axis(distance, few, axis=1), axis=1, kind="stable"), axis=1)
        return np.where(np.isfinite(np.take_along_axis(distance, order, axis=1)), chosen[order], -1)

    def numbers(self, frame: pl.DataFrame, name: str) -> np.ndarray:
        """float64 (M,): the mean of the neighbours' numbers, NaN where there are none."""
        middle, size = self.encoding.numbers[name]
        own = self.scaled[:, list(self.encoding.numbers).index(name)]
        found = self.neighbours(frame, name, ~np.isnan(own))
        total, count = np.zeros(frame.height), np.zeros(frame.height)
        for place in range(found.shape[1]):
            is_there = found[:, place] >= 0
            total += np.where(is_there, own[found[:, place]], 0.0)
            count += is_there
        return np.where(count > 0, middle + size * total / np.maximum(count, 1.0), np.nan)

    def words(self, frame: pl.DataFrame, name: str) -> list[str | None]:
        """The most frequent word of the neighbours, of equals the nearest one; None where there are none."""
        words = [None, *self.encoding.words[name]]
        own = self.codes[:, list(self.encoding.words).index(name)]
        found = self.neighbours(frame, name, own > 0)
        votes = np.where(found >= 0, own[found], 0)
        same = (votes[:, :, None] == votes[:, None, :]).sum(axis=2) * (votes > 0)
        if not votes.shape[1]:
            return [None] * frame.height
        best = np.take_along_axis(votes, same.argmax(axis=1)[:, None], axis=1)[:, 0]
        return [words[code] for code in best.tolist()]

    def state(self) -> dict[str, Any]:
        return {**self.encoding.state(), "scaled": self.scaled, "codes": self.codes}

    @classmethod
    def from_state(cls, state: dict[str, Any], num_neighbours: int) -> Nearest:
        encoding, num_rows = Encoding.from_state(state), len(state["scaled"])
        scaled = np.asarray(state["scaled"], dtype=np.float64).reshape(num_rows, len(encoding.numbers))
        return cls(
            encoding, scaled, np.asarray(state["codes"], dtype=np.int32).reshape(num_rows, len(encoding.words)), num_neighbours
        )


class Linear:
    """Ridge regression on the other columns; for words one line per word, and the highest wins.

    offset: float64 (K,). numbers: column -> weights (K,). words: column -> weights (codes, K). K is 1 for a number.
    low, high: a guessed number stays between those of training. classes: the words that can be guessed.
    """

    def __init__(self, encoding: Encoding, state: dict[str, Any]) -> None:
        self.encoding = encoding
        self.offset = np.asarray(state["offset"], dtype=np.float64)
        self.weights = {name: np.asarray(array, dtype=np.float64) for name, array in state["weights"].items()}
        self.low, self.high = float(state["low"]), float(state["high"])
        self.classes: list[str] = list(state["classes"])

    @classmethod
    def of(cls, sample: pl.DataFrame, name: str, encoding: Encoding) -> Linear | None:
        """Learn `name` from the rows of the sample that know it; None where there are none."""
        rows = sample.filter(pl.col(name).is_not_null())
        if not rows.height:
            return None
        if name in encoding.words:
            classes = encoding.words[name]
            target = (encoding.codes(rows, name)[:, None] == np.arange(1, len(classes) + 1)).astype(np.float64)
            low, high = 0.0, 1.0
        else:
            classes, target = [], as_numbers(rows[name])[:, None]
            low, high = float(target.min()), float(target.max())
        design, widths = _design(rows, name, encoding)
        middle, mean = design.mean(axis=0), target.mean(axis=0)
        design = design - middle
        normal = design.T @ design + _PENALTY * np.eye(design.shape[1])
        solved = np.linalg.solve(normal, design.T @ (target - mean)) if design.shape[1] else np.zeros((0, target.shape[1]))
        parts = np.split(solved, np.cumsum(list(widths.values()))[:-1]) if widths else []
        weights = dict(zip(widths, parts, strict=True))
        record = {"offset": mean - middle @ solved, "weights": weights, "low": low, "high": high, "classes": classes}
        return cls(encoding, record)

    def _scores(self, frame: pl.DataFrame) -> np.ndarray:
        """float64 (M, K)."""
        scores = np.tile(self.offset, (frame.height, 1))
        for name in (*self.encoding.numbers, *self.encoding.words):
            if name not in self.weights:
                continue
            weights = self.weights[name]
            if name in self.encoding.numbers:
                scores += np.nan_to_num(self.encoding.scaled(frame, name))[:, None] * weights
            else:
                scores += np.concatenate([np.zeros((1, weights.shape[1])), weights])[self.encoding.codes(frame, name)]
        return scores

    def numbers(self, frame: pl.DataFrame) -> np.ndarray:
        """float64 (M,)."""
        return np.clip(self._scores(frame)[:, 0], self.low, self.high)

    def words(self, frame: pl.DataFrame) -> list[str | None]:
        """One word per row."""
        return (
            [self.classes[place] for place in self._scores(frame).argmax(axis=1).tolist()]
            if self.classes
            else [None] * frame.height
        )

    def state(self) -> dict[str, Any]:
        return {"offset": self.offset, "weights": dict(self.weights), "low": self.low, "high": self.high, "classes": self.classes}


def _design(rows: pl.DataFrame, without: str, encoding: Encoding) -> tuple[np.ndarray, dict[str, int]]:
    """float64 (N, W), missing numbers in the middle, and the width of each column in it."""
    parts, widths = [], {}
    for name in encoding.numbers:
        if name != without:
            parts.append(np.nan_to_num(encoding.scaled(rows, name))[:, None])
            widths[name] = 1
    for name, words in encoding.words.items():
        if name != without and words:
            parts.append((encoding.codes(rows, name)[:, None] == np.arange(1, len(words) + 1)).astype(np.float64))
            widths[name] = len(words)
    return np.concatenate(parts, axis=1) if parts else np.zeros((rows.height, 0)), widths


def _side_by_side(columns: Sequence[np.ndarray], num_rows: int, dtype: type) -> np.ndarray:
    return np.stack(columns, axis=1).astype(dtype) if columns else np.zeros((num_rows, 0), dtype=dtype)
