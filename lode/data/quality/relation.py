"""What one column alone tells of an output: the score of a table of its values, out of fold, on a fixed sample of training rows.

Cells are put into bins (a number's quantiles, a date's, a category's words; empty cells are a bin of their own). The rows of every
(fold, bin, class) are counted; a row is predicted by the rows of its bin in the other folds, shrunk towards the mean of all. AUC or R2
follow from the counts alone, exactly, ties counted half. An id that never repeats gets the mean and so an AUC of 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from lode.data import cells
from lode.data.quality.drift import as_enum
from lode.data.quality.figures import Column, shown
from lode.data.targets import cells_of

_NUM_FOLDS = 5
_NUM_BINS = 32
_SHOWN_BINS = 10
_MAX_WORDS = 2_000
_MAX_CLASSES = 20
_SHRINK_ROWS = 2.0
"""A bin counts as so many rows of the mean more than it has."""
_MIN_ROWS = 20
_KNOWN = 0.99
_STRAIGHT = 1.0 - 1e-9


class Judge:
    """Holds every column against the first output.

    Args:
        train: the sample's training rows.
        target: the output; options: what schema.json says of it (`positive`).
    """

    def __init__(self, train: pl.DataFrame, target: Column, options: Mapping[str, Any]) -> None:
        known = train.select(target.value.is_not_null()).to_series()
        self.rows = train.filter(known)
        self.target, self.is_number = target, cells_of(target.word) == "numbers"
        self.values = self.rows.select(target.value.alias("y")).to_series()
        folds = np.arange(self.rows.height) % _NUM_FOLDS
        self.folds = np.random.default_rng(0).permutation(folds)
        self.classes: list[str] = []
        if self.is_number:
            self.numbers = self.values.cast(pl.Float64).to_numpy()
        else:
            words = cells.words(self.values.cast(pl.String) if isinstance(self.values.dtype, pl.Enum) else self.values)
            counts = words.value_counts(name="rows").sort(["rows", words.name], descending=[True, False])
            most = _MAX_CLASSES if cells_of(target.word) == "words" else 0  # a list of labels is no class
            self.classes = counts[words.name].head(most).to_list()
            self._name_positive(options.get("positive"))
            self.codes = words.replace_strict(self.classes, list(range(len(self.classes))), default=len(self.classes)).to_numpy()

    def _name_positive(self, positive: Any) -> None:
        word = None if positive is None else cells.words(pl.Series([positive])).item()
        if len(self.classes) == 2 and word in self.classes:
            self.classes.sort(key=lambda name: name == word)

    def relation(self, column: Column) -> dict[str, Any] | None:
        """`measure` ("auc" or "r2"), `power`, and the target in each of a few `bins`; None where there is nothing to tell."""
        if not self.can_judge:
            return None
        measured = self.rows.select(column.measure if column.kind == "text" else column.value).to_series()
        if column.kind == "word":
            few, few_labels = bins, labels = _word_bins(measured)
        else:
            (bins, labels), (few, few_labels) = _number_bins(measured, column.kind, (_NUM_BINS, _SHOWN_BINS))
        record: dict[str, Any] = {"measure": "r2" if self.is_number else "auc", "rows": self.rows.height}
        if self.is_number:
            record |= {"power": self._r2(bins, len(labels)), "bins": self._means(few, few_labels)}
        else:
            record |= {"power": self._auc(bins, len(labels)), "classes": self.classes, "bins": self._shares(few, few_labels)}
        return record

    def _auc(self, bins: np.ndarray, num_bins: int) -> float:
        """Binary: of the positive class. More classes: each against the rest, weighted by its rows."""
        num_classes = len(self.classes) + 1
        counts = np.bincount(
            (self.folds * num_bins + bins) * num_classes + self.codes, minlength=_NUM_FOLDS * num_bins * num_classes
        ).reshape(_NUM_FOLDS, num_bins, num_classes)
        others = counts.sum(axis=0)[None] - counts
        mean = counts.sum(axis=(0, 1)) / counts.sum()
        scores = (others + _SHRINK_ROWS * mean) / (others.sum(axis=2, keepdims=True) + _SHRINK_ROWS)
        wanted = [1] if len(self.classes) == 2 else range(len(self.classes))
        areas = [_area(scores[..., code].ravel(), counts[..., code].ravel(), counts.sum(axis=2).ravel()) for code in wanted]
        weights = [counts[..., code].sum() for code in wanted]
        return float(np.average(areas, weights=weights))

    def _r2(self, bins: np.ndarray, num_bins: int) -> float:
        cell = self.folds * num_bins + bins
        shape = (_NUM_FOLDS, num_bins)
        num_cells = _NUM_FOLDS * num_bins
        rows = np.bincount(cell, minlength=num_cells).reshape(shape)
        centred = self.numbers - self.numbers.mean()
        sums = np.bincount(cell, weights=centred, minlength=num_cells).reshape(shape)
        said = (sums.sum(axis=0) - sums) / (rows.sum(axis=0) - rows + _SHRINK_ROWS)
        total = float((centred**2).sum())
        # sum of (y - said)^2 = sum y^2 - 2 said sum y + n said^2, cell by cell
        left = total + float((rows * said**2 - 2 * said * sums).sum())
        return 1.0 - left / total if total > 0 else 0.0

    def _means(self, bins: np.ndarray, labels: list[str | None]) -> list[dict[str, Any]]:
        rows = np.bincount(bins, minlength=len(labels))
        sums = np.bincount(bins, weights=self.numbers, minlength=len(labels))
        return [
            {"bin": label, "rows": int(count), "mean": float(total / count)}
            for label, count, total in zip(labels, rows, sums, strict=True)
            if count
        ][: 2 * _SHOWN_BINS]

    def _shares(self, bins: np.ndarray, labels: list[str | None]) -> list[dict[str, Any]]:
        num_classes = len(self.classes) + 1
        counts = np.bincount(bins * num_classes + self.codes, minlength=len(labels) * num_classes).reshape(-1, num_classes)
        return [
            {"bin": label, "rows": int(row.sum()), "shares": [round(float(share), 5) for share in row[:-1] / row.sum()]}
            for label, row in zip(labels, counts, strict=True)
            if row.sum()
        ][: 2 * _SHOWN_BINS]

    @property
    def can_judge(self) -> bool:
        """Whether there are rows, and classes to tell apart."""
        return self.rows.height >= _MIN_ROWS and (self.is_number or len(self.classes) > 1)

    def tells(self, column: Column, scan: pl.LazyFrame) -> str | None:
        """How the column gives the output away: "target", "value", "threshold", "line"; looked for in the sample, proved on all rows."""
        if not self.can_judge or column.kind in ("text", "bytes", "other"):
            return None
        pair = self.rows.select(x=column.value, y=self.target.value).drop_nulls("x")
        if pair.height < max(_MIN_ROWS, _KNOWN * self.rows.height):
            return None
        whole = scan.select(x=column.value, y=self.target.value).drop_nulls()
        if self.is_number:
            return "line" if column.kind in ("number", "date") and _straight(pair.lazy()) and _straight(whole) else None
        num_values, num_classes = pair["x"].n_unique(), pair["y"].n_unique()
        if num_values <= max(num_classes, 0.05 * pair.height) and pair.n_unique() == num_values:
            if _told_by_value(whole):
                return "target" if num_values == num_classes else "value"
            return None
        if column.kind in ("number", "date") and num_classes == 2 and _told_by_threshold(pair.lazy()) and _told_by_threshold(whole):
            return "threshold"
        return None


def _area(scores: np.ndarray, positives: np.ndarray, rows: np.ndarray) -> float:
    """Area under the ROC curve of groups of rows with one score each; ties count half."""
    _, group = np.unique(scores, return_inverse=True)
    good = np.bincount(group, weights=positives)
    bad = np.bincount(group, weights=rows - positives)
    if not good.sum() or not bad.sum():
        return 0.5
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / (good.sum() * bad.sum()))


def _number_bins(column: pl.Series, kind: str, sizes: Sequence[int]) -> list[tuple[np.ndarray, list[str | None]]]:
    """For each number of bins: the bin of every cell, and what each bin is called; the last one (None) holds empty cells."""
    known = column.is_not_null().to_numpy()
    numbers = column.cast(pl.Float64).fill_null(0.0).to_numpy()
    ordered = np.sort(numbers[known])
    values = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
    found = []
    for num_bins in sizes:
        labels: list[str | None]
        if len(values) <= num_bins:
            edges, labels = values[1:], [_named(value, kind) for value in values]
        else:
            places = np.ceil(np.linspace(0, 1, num_bins + 1)[1:-1] * (len(ordered) - 1)).astype(np.int64)
            edges = np.unique(ordered[places])
            bounds = [values[0], *edges, values[-1]]
            labels = [f"{_named(low, kind)} to {_named(high, kind)}" for low, high in pairwise(bounds)]
        bins = np.searchsorted(edges, numbers, side="right")
        bins[~known] = len(labels)
        found.append((bins, [*labels, None]))
    return found


def _word_bins(column: pl.Series) -> tuple[np.ndarray, list[str | None]]:
    """As `_number_bins`: a bin for each of the most frequent words, one for all others, one for empty cells."""
    enum = column if isinstance(column.dtype, pl.Enum) else as_enum(column.cast(pl.String))
    words = enum.dtype.categories.to_list() if isinstance(enum.dtype, pl.Enum) else []
    codes = enum.to_physical().cast(pl.UInt32).fill_null(len(words)).to_numpy()
    least = (-np.bincount(codes, minlength=len(words) + 1)[:-1]).tolist()
    most = sorted((code for code in range(len(words)) if least[code]), key=lambda code: (least[code], words[code]))[:_MAX_WORDS]
    bins = np.full(len(words) + 1, len(most), dtype=np.int64)
    bins[most], bins[-1] = np.arange(len(most)), len(most) + 1
    return bins[codes], [*(shown(words[code]) for code in most), "(others)", None]


def _named(value: float, kind: str) -> str:
    if kind == "date":
        return str(np.datetime64(int(value), "us").astype("datetime64[D]"))
    return f"{value + 0.0:.4g}"  # never "-0"


def _straight(pairs: pl.LazyFrame) -> bool:
    r = pairs.select(pl.corr(pl.col("x").cast(pl.Float64), pl.col("y").cast(pl.Float64))).collect(engine="streaming").item()
    return r is not None and abs(r) >= _STRAIGHT


def _told_by_value(pairs: pl.LazyFrame) -> bool:
    found = pairs.group_by("x", "y").len().select(pl.len() == pl.col("x").n_unique()).collect(engine="streaming")
    return bool(found.item())


def _told_by_threshold(pairs: pl.LazyFrame) -> bool:
    bounds = pairs.group_by("y").agg(low=pl.col("x").min(), high=pl.col("x").max()).collect(engine="streaming").sort("low")
    return bounds.height == 2 and bool(bounds["high"][0] < bounds["low"][1])
