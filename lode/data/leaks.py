"""Inputs that say the answer: equal to the target, or predicting it without a fault. A warning, for now and then it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from lode.data.table import Table

_SAMPLE = 5_000
_MIN_ROWS = 20


def leaks(table: Table, inputs: Sequence[str], output: str, is_number: bool) -> list[str]:
    """One sentence for each input that gives the output away."""
    if table.num_kept < _MIN_ROWS:
        return []
    tells = _number_tells if is_number else _class_tells
    found = {name: _leak(table, name, output, tells) for name in inputs}
    return [f"inputs: {name}: {how} Leave it out unless it is known before the prediction." for name, how in found.items() if how]


def _leak(table: Table, name: str, output: str, tells: Callable[[pl.Series, pl.Series], str | None]) -> str | None:
    """Looks at the first rows, and at all of them only where those give the output away."""
    for size in dict.fromkeys((_SAMPLE, table.num_kept)):
        how = tells(table.kept_column(name, size), table.kept_column(output, size))
        if how is None:
            return None
    return how


def _class_tells(column: pl.Series, target: pl.Series) -> str | None:
    if column.dtype == pl.Binary or column.dtype.is_nested():
        return None
    known = column.is_not_null()
    if known.sum() < 0.99 * len(column):
        return None
    pair = pl.DataFrame({"x": column.filter(known), "y": target.filter(known)})
    num_values, num_classes = pair["x"].n_unique(), pair["y"].n_unique()
    if num_classes < 2:
        return None
    if num_values <= max(num_classes, 0.05 * pair.height) and pair.n_unique() == num_values:
        same = num_values == num_classes
        return f"it {'is the target under another name' if same else 'tells the target without a fault'} (a leak?)."
    if column.dtype.is_numeric() and num_classes == 2 and _threshold_tells(pair):
        return "one threshold on it tells the target without a fault (a leak?)."
    return None


def _threshold_tells(pair: pl.DataFrame) -> bool:
    bounds = pair.group_by("y").agg(low=pl.col("x").min(), high=pl.col("x").max()).sort("low")
    return bool(bounds["high"][0] < bounds["low"][1])


def _number_tells(column: pl.Series, target: pl.Series) -> str | None:
    if not column.dtype.is_numeric():
        return None
    x, y = (part.cast(pl.Float64).to_numpy() for part in (column, target))
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < max(_MIN_ROWS, 0.99 * len(x)) or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return None
    if abs(float(np.corrcoef(x[known], y[known])[0, 1])) < 1.0 - 1e-9:
        return None
    return "it is the target, or a straight line of it (a leak?)."
