"""Fills missing cells, or drops the training rows that have them. Without it features handle missing cells themselves (a flag, code 0).

How a cell is guessed from the others of its row: lode/data/mending/guesses.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, SpecError, listed, near_miss
from lode.core.types import ColumnName, Range
from lode.data import cells
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending.fitting import count_rows, known_numbers, random_rows
from lode.data.mending.guesses import Curve, Encoding, Linear, Nearest, as_numbers
from lode.data.mending.selection import column_quantiles
from lode.data.threads import side_by_side

_NUMBERS = ("keep", "mean", "median", "mode", "zero", "constant", "interpolate", "nearest", "model")
_WORDS = ("keep", "mode", "word", "nearest", "model")
_LEARNED = ("interpolate", "nearest", "model")
_REFERENCE_ROWS, _MODEL_ROWS, _CURVE_ROWS = 2_048, 20_000, 1_000_000


class Missing(Cleaner):
    """Fills missing cells with what training rows say; the same values and models are used for every later row.

    Args:
        numbers: what a missing number becomes: its column's mean, median or most frequent number ("mode"), zero, the number `constant`,
            a point between those before and after it ("interpolate", needs `along`), the mean of the most similar training rows
            ("nearest"), a linear model of the other inputs ("model"), or nothing ("keep").
        categories: what a missing category or yes-or-no becomes: the most frequent word ("mode"), the text of `word` ("word"), the word
            of the most similar training rows ("nearest"), what a linear model says ("model"), or nothing ("keep").
        columns: another choice for some columns: `{age: median, city: mode}`.
        constant: the number of `numbers: constant`.
        word: the text of `categories: word`.
        along: the number or date column along which numbers are interpolated.
        neighbours: how many similar rows are asked.
        indicator: keep telling models which cells were missing, after they were filled.
        drop: drop training rows with missing cells instead; rows to be predicted and tested are never dropped.
        above: with `drop`: only rows where more than this share of the cells is missing (0: any).
        seed: of the sample of training rows that are compared with and learned from.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"
    coded: bool = True

    def __init__(
        self,
        *,
        numbers: Literal["keep", "mean", "median", "mode", "zero", "constant", "interpolate", "nearest", "model"] = "keep",
        categories: Literal["keep", "mode", "word", "nearest", "model"] = "keep",
        columns: dict[str, Literal["keep", "mean", "median", "mode", "zero", "constant", "interpolate", "nearest", "model", "word"]]
        | None = None,
        constant: float = 0.0,
        word: str = "missing",
        along: ColumnName | None = None,
        neighbours: Annotated[int, Range(1, 100)] = 5,
        indicator: bool = False,
        drop: bool = False,
        above: Annotated[float, Range(0, 1)] = 0.0,
        seed: Annotated[int, Range(0)] = 0,
    ) -> None:
        self.numbers, self.categories, self.columns = numbers, categories, dict(columns or {})
        self.constant, self.word, self.along, self.neighbours = constant, word, along, neighbours
        self.indicator, self.above, self.seed = indicator, above, seed
        self.scope = "training" if drop else "cells"
        self._fill: dict[str, Any] = {}
        self._columns: list[str] = []
        self.flags: tuple[str, ...] = ()
        self._methods: dict[str, str] = {}
        self._curves: dict[str, Curve] = {}
        self._nearest: Nearest | None = None
        self._models: dict[str, Linear] = {}
        if "interpolate" in (numbers, *self.columns.values()) and along is None:
            raise SpecError(
                "cleaner missing:along: found nothing, allowed: a column with numbers or dates. Name the one to interpolate along."
            )
        if above and not drop:
            raise SpecError(
                f"cleaner missing:above: found {above:g} without `drop: true`, which it belongs to. Add it, or leave this out."
            )

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Errors: DataError where a named column is not there, or cannot be filled like that."""
        schema = rows.collect_schema()
        self._columns = [name for name in schema.names() if name in types and name != ROW]
        self._curves, self._nearest, self._models, self.flags = {}, None, {}, ()
        kinds = {name: kind for name in self._columns if (kind := _kind(types[name], schema[name]))}
        self._methods = self._chosen(kinds, types) if self.scope == "cells" else {}
        asked = [(name, kinds[name], method) for name, method in self._methods.items()]
        # A mean holds all numbers of a column: one column at a time.
        num_rows = count_rows(rows) if asked and "mean" not in self._methods.values() else 0
        values = side_by_side(lambda item: self._constant(rows, *item), asked, num_rows)
        self._fill = {name: value for (name, _, _), value in zip(asked, values, strict=True) if value is not None}
        self._learn(rows, kinds, types, schema)
        self.own_column = self.scope == "cells" and all(self._fits(name, schema[name]) for name in self._fill)
        if self.indicator and self._methods:
            counts = rows.select(pl.col(name).null_count() for name in self._methods).collect(engine="streaming").row(0, named=True)
            self.flags = tuple(name for name, count in counts.items() if count)

    def _chosen(self, kinds: Mapping[str, str], types: Mapping[str, str]) -> dict[str, str]:
        """Column -> method, without those that are kept. Errors: DataError, one line per column."""
        problems = []
        for name, method in self.columns.items():
            allowed = {"number": _NUMBERS, "word": _WORDS}.get(kinds.get(name, ""), ())
            where = f"data.clean missing: columns.{name}"
            if name not in types:
                problems.append(
                    f"{where}: no such column, found {listed(self._columns)}.{near_miss(name, self._columns)} Correct the name."
                )
            elif method not in allowed:
                what = f'"{method}" for a {types[name]}, allowed: {listed(allowed) or "nothing, only numbers and words are filled"}'
                problems.append(f"{where}: found {what}. Change it, or leave the column out.")
        if problems:
            raise DataError("\n".join(problems))
        group = {"number": self.numbers, "word": self.categories}
        methods = {name: self.columns.get(name, group[kind]) for name, kind in kinds.items()}
        return {name: method for name, method in methods.items() if method != "keep" and name != self.along}

    def _constant(self, rows: pl.LazyFrame, name: str, kind: str, method: str) -> Any:
        """What a missing cell becomes, at least where a model has nothing to go by; None where training has no known cell."""
        fixed = {"zero": 0.0, "constant": self.constant, "word": self.word}
        if method in fixed:
            return fixed[method]
        if kind == "word" or method == "mode":
            return _most_frequent(rows, name)
        if method == "mean":
            values = known_numbers(rows, name)
            return float(values.mean()) if len(values) else None
        found = column_quantiles(rows, name, (0.5,))
        return found[0] if found else None

    def _learn(self, rows: pl.LazyFrame, kinds: Mapping[str, str], types: Mapping[str, str], schema: pl.Schema) -> None:
        wanted = {method: [name for name, chosen in self._methods.items() if chosen == method] for method in _LEARNED}
        if wanted["interpolate"]:
            self._learn_curves(rows, wanted["interpolate"], types, schema)
        if not wanted["nearest"] and not wanted["model"]:
            return
        dates = [name for name in self._columns if schema[name].is_temporal()]
        first = [*wanted["nearest"], *wanted["model"]]
        others = [name for name in (*kinds, *dates) if name not in first]
        order = [*first, *others]
        sample = random_rows(rows, order, _MODEL_ROWS if wanted["model"] else _REFERENCE_ROWS, self.seed)
        numbers = [name for name in order if kinds.get(name) == "number" or name in dates]
        encoding = Encoding.of(sample, numbers, [name for name in order if kinds.get(name) == "word"])
        if wanted["nearest"]:
            self._nearest = Nearest.of(random_rows(sample.lazy(), order, _REFERENCE_ROWS, self.seed), encoding, self.neighbours)
        for name in wanted["model"]:
            model = Linear.of(sample, name, encoding)
            if model is not None:
                self._models[name] = model

    def _learn_curves(self, rows: pl.LazyFrame, names: list[str], types: Mapping[str, str], schema: pl.Schema) -> None:
        along = str(self.along)
        if along not in types or not (schema[along].is_numeric() or schema[along].is_temporal()):
            fit = [name for name in self._columns if schema[name].is_numeric() or schema[name].is_temporal()]
            raise DataError(
                f'data.clean missing: along names "{along}", which is no number or date; found {listed(fit)}.{near_miss(along, fit)} '
                "Name one of them."
            )
        for name in names:
            points = random_rows(rows.select(along, name).drop_nulls(), [along, name], _CURVE_ROWS, self.seed)
            self._curves[name] = Curve.of(as_numbers(points[along]), as_numbers(points[name]))

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.scope == "training":
            names = [name for name in frame.columns if name in self._columns]
            if not names:
                return frame
            num_missing = pl.sum_horizontal(pl.col(name).is_null() for name in names)
            return frame.filter(num_missing <= self.above * len(names))
        names = [name for name in frame.columns if name in self._fill and frame[name].has_nulls()]
        if not names:
            return frame
        schema = frame.schema
        return frame.with_columns(
            pl.col(name).fill_null(self._fill[name]) if self._fits(name, schema[name]) else self._guessed(frame, name)
            for name in names
        )

    def _guessed(self, frame: pl.DataFrame, name: str) -> pl.Series:
        # A snapshot keeps few words as an Enum, which cannot take another one.
        column = frame[name].cast(pl.String) if isinstance(frame.schema[name], pl.Enum) else frame[name]
        rows = column.is_null().arg_true()
        guesses = self._guesses(frame[rows], name)
        if guesses is not None:
            column = column.scatter(rows, guesses.cast(column.dtype))
        return column.fill_null(self._fill[name]) if column.has_nulls() else column

    def _fits(self, name: str, dtype: pl.DataType) -> bool:
        """Whether missing cells of the column are filled with one value, which its type can hold."""
        is_constant = self._methods.get(name) not in _LEARNED
        return is_constant and not (isinstance(dtype, pl.Enum) and self._fill[name] not in dtype.categories)

    def _guesses(self, rows: pl.DataFrame, name: str) -> pl.Series | None:
        """One cell per row, null where nothing can be said; None where the column is filled with a constant."""
        is_word = isinstance(self._fill[name], str)
        if name in self._models:
            model = self._models[name]
            return _words(model.words(rows)) if is_word else _numbers(model.numbers(rows))
        if name in self._curves:
            along = rows[str(self.along)] if self.along in rows.columns else pl.Series([None] * rows.height, dtype=pl.Float64)
            return _numbers(self._curves[name].guess(as_numbers(along)))
        if self._nearest is not None and self._methods.get(name) == "nearest":
            return _words(self._nearest.words(rows, name)) if is_word else _numbers(self._nearest.numbers(rows, name))
        return None

    def why(self, changed: pl.DataFrame) -> pl.Series:
        """How a cell was filled."""
        if self.scope == "training":
            return pl.Series(["missing cells"], dtype=pl.String).new_from_index(0, changed.height)
        return changed["column"].replace_strict(self._methods or {"": ""}, default="filled", return_dtype=pl.String)

    def state(self) -> State:
        if self.scope != "cells":
            return {}
        learned: State = {"curves": {name: {"along": curve.along, "values": curve.values} for name, curve in self._curves.items()}}
        models = {name: model.state() for name, model in self._models.items()}
        encoding = next(iter(self._models.values())).encoding.state() if self._models else None
        learned |= {"models": models, "encoding": encoding, "nearest": self._nearest.state() if self._nearest else None}
        return {
            "fill": dict(self._fill),
            "columns": list(self._columns),
            "methods": dict(self._methods),
            "flags": list(self.flags),
            **learned,
        }

    def restore(self, state: State) -> None:
        """Artifacts of format 1 made before 0.2 have `fill` and `columns` only."""
        self._fill, self._columns = dict(state["fill"]), list(state["columns"])
        self._methods, self.flags = dict(state.get("methods", {})), tuple(state.get("flags", ()))
        curves = state.get("curves", {})
        self._curves = {name: Curve(np.asarray(points["along"]), np.asarray(points["values"])) for name, points in curves.items()}
        nearest, encoding = state.get("nearest"), state.get("encoding")
        self._nearest = Nearest.from_state(nearest, self.neighbours) if nearest else None
        models = state.get("models", {})
        self._models = {name: Linear(Encoding.from_state(encoding), record) for name, record in models.items()} if encoding else {}


def _kind(word: str, dtype: pl.DataType) -> str:
    """What a column is filled as: "number", "word", or "" for never."""
    if word == "number" and dtype.is_numeric():
        return "number"
    return "word" if word in ("category", "binary") and (dtype == pl.String or isinstance(dtype, pl.Enum)) else ""


def _numbers(values: np.ndarray) -> pl.Series:
    return pl.Series(values, nan_to_null=True)


def _words(values: list[str | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def _most_frequent(rows: pl.LazyFrame, name: str) -> Any:
    """The most frequent value, of equally frequent ones the smallest; None where there is none."""
    dtype = rows.collect_schema()[name]
    if isinstance(dtype, pl.Enum):
        counts = np.zeros(len(dtype.categories), dtype=np.int64)
        for batch in rows.select(pl.col(name).to_physical().drop_nulls()).collect_batches(maintain_order=False):
            counts += cells.code_counts(batch.to_series().to_numpy(), len(counts))
        return dtype.categories.filter(pl.Series(counts == counts.max())).min() if counts.any() else None
    found = rows.select(pl.col(name).alias("value")).drop_nulls().group_by("value").agg(pl.len().alias("rows"))
    return found.filter(pl.col("rows") == pl.col("rows").max()).select("value").collect(engine="streaming").to_series().min()
