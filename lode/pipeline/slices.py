"""Slices: the first metric on the rows of each category, so that a good mean cannot hide a group served badly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnSchema
from lode.data.contracts import ROW
from lode.model import bootstrap
from lode.pipeline import scoring
from lode.pipeline.scoring import Truth

MIN_ROWS = 30
"""Slices with fewer rows are shown, never judged."""
MAX_VALUES = 20
NUM_PARTS = 4


def columns_of(
    frame: pl.DataFrame, inputs: Sequence[ColumnSchema], wanted: Sequence[str] | None, key: str = "evaluate.slices"
) -> list[str]:
    """Columns to slice by: the wanted ones, else every category or binary input with 2 to 20 values.

    key: where they are wanted. Errors: DataError for a wanted column that the test rows do not have, or of files or lists.
    """
    if wanted is None:
        words = [column.name for column in inputs if column.type in ("category", "binary")]
        return [name for name in words if 2 <= frame[name].n_unique() <= MAX_VALUES]
    known = [name for name in frame.columns if name != ROW]
    for name in wanted:
        if name not in known:
            hint = near_miss(name, known) or f" Name one of: {listed(known)}."
            raise DataError(f'{key}: column "{name}" is not among the test rows.{hint}')
        if frame[name].dtype == pl.Binary or frame[name].dtype.is_nested():
            raise DataError(f'{key}: column "{name}" holds {frame[name].dtype}, words or numbers are needed. Name another column.')
    return list(dict.fromkeys(wanted))


def slices(
    frame: pl.DataFrame,
    columns: Sequence[str],
    word: str,
    prediction: np.ndarray,
    truth: Truth,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """{"metric", "value", "groups": [{"column", "group", "rows", "value", "low", "high", "judged", "worse", "why"}]}.

    prediction: of the M labelled rows (M,) or (M, K). group: None for missing cells. worse: the slice's 95 % interval
    lies wholly on the wrong side of the value over all rows.
    """
    overall = bootstrap.figure(word, prediction, truth.target)
    higher = scoring.higher_is_better(word)
    groups = []
    for column in columns:
        names = group_names(frame[column].gather(truth.rows))
        for name in ordered(names):
            inside = np.flatnonzero((names.is_null() if name is None else (names == name).fill_null(False)).to_numpy())
            record = _group(word, prediction[inside], truth.target[inside], resamples, seed)
            low, high = record["low"], record["high"]
            record["worse"] = record["judged"] and bool(high < overall if higher else low > overall)
            groups.append({"column": column, "group": name, "rows": len(inside), **record})
    return {"metric": word, "value": overall, "groups": groups}


def _group(word: str, prediction: np.ndarray, target: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    value, low, high = bootstrap.intervals(word, prediction, target, resamples, seed)
    judged, why = True, ""
    if len(target) < MIN_ROWS:
        judged, why = False, f"fewer than {MIN_ROWS} rows"
    elif not np.isfinite([value, low, high]).all():
        judged, why = False, "undefined on these rows"
    return {"value": value, "low": low, "high": high, "judged": judged, "why": why}


def group_names(column: pl.Series) -> pl.Series:
    """The group of each row as a word: a category's value, or a quarter of the rows of a number with many values."""
    if not column.dtype.is_numeric() or column.n_unique() <= MAX_VALUES:
        return column.cast(pl.String, strict=False)
    numbers = column.cast(pl.Float64).to_numpy()
    known = np.isfinite(numbers)
    if not known.any():
        return column.cast(pl.String)
    bounds = np.unique(np.quantile(numbers[known], np.linspace(0, 1, NUM_PARTS + 1), method="inverted_cdf"))
    ends = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    words = [f"{low:.6g} to {high:.6g}" for low, high in ends]
    if len(set(words)) < len(words):
        words = [f"{low!r} to {high!r}" for low, high in ends]
    place = np.searchsorted(bounds[1:-1], numbers)
    return pl.Series([words[part] if there else None for part, there in zip(place, known, strict=True)], dtype=pl.String)


def ordered(names: pl.Series) -> list[str | None]:
    """The 20 most frequent groups, most frequent first, ties by name; missing cells last."""
    counts = names.drop_nulls().value_counts().rows()
    words: list[str | None] = [name for name, _ in sorted(counts, key=lambda row: (-row[1], row[0]))[:MAX_VALUES]]
    return [*words, None] if names.null_count() else words
