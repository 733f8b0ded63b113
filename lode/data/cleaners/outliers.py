"""Numbers far from the others: set to the edge, taken out, or their training rows dropped. Edges come from training rows only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, SpecError, listed, near_miss
from lode.core.types import ColumnName, Range
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending.fitting import count_rows, known_numbers, quantiles, random_rows
from lode.data.mending.selection import column_quantiles
from lode.data.threads import side_by_side

_LIMITS = {"iqr": 3.0, "z": 4.0, "mad": 5.0, "isolation_forest": 0.01}
_MAD_TO_DEVIATION = 1.4826
"""1 / the third quartile of a standard normal variable: makes MAD estimate the deviation of normal data."""
_NOWHERE = (np.nan, np.nan)
"""The edges of a column without a known cell."""
_FOREST_ROWS = 100_000
_NUM_TREES, _ROWS_PER_TREE = 100, 256
"""Liu, Ting and Zhou, Isolation Forest, ICDM 2008."""


class Outliers(Cleaner):
    """Treats numbers that lie far from the others.

    A column whose middle half (or, for z and mad, all or half of it) is one value has no scale, and is left alone.

    Args:
        method: what is far: beyond the quartiles by `limit` times their distance ("iqr"); from the mean by `limit` deviations ("z");
            from the median by `limit` robust deviations ("mad"); or rows that random trees tell apart soonest ("isolation_forest",
            with `action: drop` only, for it judges rows).
        limit: how far: 3 for iqr, 4 for z, 5 for mad unless given; for isolation_forest the share of training rows that go, 0.01.
        columns: these columns; by default all numbers (with `action: drop` outputs that are numbers too).
        action: "clip" sets a cell to the nearest value that is not far, "null" makes it missing, in every row and request; "drop"
            takes the row out of training.
        seed: of the isolation forest.
    """

    scope: Literal["source", "cells", "training"] = "cells"
    on: ClassVar[Literal["raw", "typed"]] = "typed"
    coded: bool = True

    def __init__(
        self,
        *,
        method: Literal["iqr", "z", "mad", "isolation_forest"] = "iqr",
        limit: Annotated[float, Range(0, open_low=True)] | None = None,
        columns: list[ColumnName] | None = None,
        action: Literal["clip", "null", "drop"] | None = "clip",
        seed: Annotated[int, Range(0)] = 0,
    ) -> None:
        if method == "isolation_forest" and action != "drop":
            raise SpecError(
                f'cleaner outliers:action: found "{action}" with isolation_forest, which judges rows, not cells; allowed: drop. '
                "Write `action: drop`, or another method."
            )
        if method == "isolation_forest" and limit is not None and limit >= 0.5:
            raise SpecError(
                f"cleaner outliers:limit: found {limit:g} with isolation_forest, allowed: a share of rows below 0.5. Write 0.01 for 1 %."
            )
        self.method, self.columns, self.seed = method, columns, seed
        self.action = "null" if action is None else action  # how YAML reads `null`
        self.limit = _LIMITS[method] if limit is None else limit
        self.scope = "training" if action == "drop" else "cells"
        self.own_column = self.scope == "cells"
        self._bounds: dict[str, tuple[float, float]] = {}
        self._forest: _Forest | None = None
        self.notes: list[str] = []

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """One column at a time, exact. Errors: DataError where a named column is not there or holds no numbers."""
        names = self._numbers(rows.collect_schema(), types)
        self._bounds, self._forest, self.notes = {}, None, []
        if self.method == "isolation_forest":
            self._forest = _Forest(rows, names, self.limit, self.seed) if names else None
            return
        # The other methods hold all numbers of a column: one column at a time.
        num_rows = count_rows(rows) if self.method == "iqr" else 0
        found = side_by_side(lambda name: self._edges(rows, name), names, num_rows)
        for name, bounds in zip(names, found, strict=True):
            if bounds is not None:
                self._bounds[name] = bounds
            else:
                self.notes.append(f"{name} has no scale by {self.method} (most of its cells are one value), it is left alone.")

    def _numbers(self, schema: pl.Schema, types: Mapping[str, str]) -> list[str]:
        have = [name for name in schema.names() if name != ROW and name in types]
        numbers = [name for name in have if types[name] == "number" and schema[name].is_numeric()]
        for name in self.columns or ():
            if name not in have:
                raise DataError(
                    f'data.clean outliers: no column "{name}", found {listed(have)}.{near_miss(name, have)} Name one of them.'
                )
            if name not in numbers:
                raise DataError(
                    f'data.clean outliers: the column "{name}" is a {types[name]}, a number is needed. Numbers are {listed(numbers)}.'
                )
        return numbers if self.columns is None else list(self.columns)

    def _edges(self, rows: pl.LazyFrame, name: str) -> tuple[float, float] | None:
        """The smallest and the largest number that is not far; None where the column has no scale."""
        low, high = _EDGES[self.method](rows, name, self.limit)
        return (low, high) if -np.inf < low < high < np.inf else None

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self._forest is not None:
            return frame.filter(~self._forest.strange(frame)) if self._forest.fits(frame) else frame
        bounds = {name: edge for name, edge in self._bounds.items() if name in frame.columns}
        far = {name: _far(frame[name], *edge) for name, edge in bounds.items()}
        far = {name: mask for name, mask in far.items() if mask.any()}
        if not far:
            return frame
        if self.action == "drop":
            return frame.filter(~pl.DataFrame(list(far.values())).select(pl.any_horizontal(pl.all())).to_series())
        if self.action == "clip":
            return frame.with_columns(frame[name].clip(*bounds[name]) for name in far)
        return frame.with_columns(frame[name].set(mask, None) for name, mask in far.items())

    def why(self, changed: pl.DataFrame) -> pl.Series:
        """Which edge a cell was beyond."""
        if self.scope == "training":
            text = "isolation forest" if self.method == "isolation_forest" else f"a number is far ({self.method}, {self.limit:g})"
            return pl.Series([text], dtype=pl.String).new_from_index(0, changed.height)
        runs = changed["column"].rle()
        names, lengths = runs.struct.field("value").to_list(), runs.struct.field("len").to_numpy()
        said = [text for name in names for text in self._edge_texts(name)]
        lows = np.repeat([self._bounds[name][0] for name in names], lengths)
        is_low = changed["before"].cast(pl.Float64, strict=False).fill_null(np.inf).to_numpy() < lows
        places = 2 * np.repeat(np.arange(len(names)), lengths) + is_low
        return pl.Series("why", said, dtype=pl.String).gather(places)

    def _edge_texts(self, name: str) -> tuple[str, str]:
        """What is said of a cell above and below the edges of its column."""
        low, high = pl.Series(self._bounds[name]).round_sig_figs(6).cast(pl.String)
        return f"above {high} ({self.method})", f"below {low} ({self.method})"

    def state(self) -> State:
        return {"bounds": {name: list(edge) for name, edge in self._bounds.items()}} if self.scope == "cells" else {}

    def restore(self, state: State) -> None:
        self._bounds = {name: (float(low), float(high)) for name, (low, high) in state.get("bounds", {}).items()}


def _far(column: pl.Series, low: float, high: float) -> pl.Series:
    if not column.dtype.is_numeric():
        return pl.Series(column.name, [False]).new_from_index(0, len(column))
    return ((column < low) | (column > high)).fill_null(False)


def _quartile_edges(rows: pl.LazyFrame, name: str, limit: float) -> tuple[float, float]:
    """Tukey's fences (Exploratory Data Analysis, 1977)."""
    low, high = column_quantiles(rows, name, (0.25, 0.75)) or _NOWHERE
    return low - limit * (high - low), high + limit * (high - low)


def _deviation_edges(rows: pl.LazyFrame, name: str, limit: float) -> tuple[float, float]:
    values = known_numbers(rows, name)
    if not len(values):
        return _NOWHERE
    size = float(max(abs(values.min()), abs(values.max()))) or 1.0
    values /= size  # so that the squares of numbers near the largest float do not overflow
    mean, deviation = float(values.mean()), float(values.std())
    if deviation < 1e-12:
        deviation = 0.0  # a constant column: what is left is rounding
    return (mean - limit * deviation) * size, (mean + limit * deviation) * size


def _robust_edges(rows: pl.LazyFrame, name: str, limit: float) -> tuple[float, float]:
    """Median and its absolute deviation (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
    values = known_numbers(rows, name)
    if not len(values):
        return _NOWHERE
    median = quantiles(values, (0.5,))[0]
    np.abs(np.subtract(values, median, out=values), out=values)
    deviation = quantiles(values, (0.5,))[0] * _MAD_TO_DEVIATION
    return median - limit * deviation, median + limit * deviation


_EDGES: dict[str, Callable[[pl.LazyFrame, str, float], tuple[float, float]]] = {
    "iqr": _quartile_edges,
    "z": _deviation_edges,
    "mad": _robust_edges,
}


class _Forest:
    """Trees that tell rows apart, grown on a sample. A missing number counts as the column's median."""

    def __init__(self, rows: pl.LazyFrame, names: list[str], share: float, seed: int) -> None:
        from sklearn.ensemble import IsolationForest  # 1 s to import: only who asks for a forest waits for it

        sample = random_rows(rows, names, _FOREST_ROWS, seed)
        self._names = names
        self._medians = {name: _median(sample[name]) for name in names}
        self._trees = IsolationForest(n_estimators=_NUM_TREES, max_samples=min(_ROWS_PER_TREE, sample.height), random_state=seed)
        matrix = self._matrix(sample)
        self._trees.fit(matrix)
        self._least = float(np.quantile(self._trees.score_samples(matrix), share))

    def fits(self, frame: pl.DataFrame) -> bool:
        """Whether the rows have the columns, and there are any."""
        return frame.height > 0 and all(name in frame.columns for name in self._names)

    def strange(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows score below those of the sample's share."""
        return pl.Series(self._trees.score_samples(self._matrix(frame)) < self._least)

    def _matrix(self, frame: pl.DataFrame) -> np.ndarray:
        columns = [frame[name].cast(pl.Float64).fill_nan(None).fill_null(self._medians[name]).to_numpy() for name in self._names]
        limit = float(np.finfo(np.float32).max)
        return np.clip(np.stack(columns, axis=1), -limit, limit).astype(np.float32)


def _median(column: pl.Series) -> float:
    found: Any = column.cast(pl.Float64).fill_nan(None).median()
    return 0.0 if found is None else float(found)
