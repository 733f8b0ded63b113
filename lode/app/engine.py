"""One model call for several requests, in the worker thread: merge, check, predict, give each request its own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from lode.app.contracts import Answer, Cells, Dtype, RequestError, Servable
from lode.core.errors import DataError
from lode.core.types import Problem

_POLARS: Mapping[Dtype, type[pl.DataType]] = {
    "Float64": pl.Float64,
    "Int64": pl.Int64,
    "String": pl.String,
    "Boolean": pl.Boolean,
    "Binary": pl.Binary,
}


class Engine:
    """What the batcher calls. One failing request never fails those that were merged with it."""

    def __init__(self, model: Servable):
        self._model = model
        self._names = tuple(column.name for column in model.columns)

    def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
        """An answer or a failure for each request, in order. All requests of a batch have equal dtypes."""
        try:
            return self._merged(batch)
        except DataError as error:
            failure = RequestError(422, "invalid_request", str(error))
        # The request handler's broad catch, in the only place that knows which request is to blame. A panic inside polars
        # is no Exception, and must not end the worker either.
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001
            failure = RequestError(500, "internal", "the model failed on this request.")
            failure.__cause__ = error
        return [failure] if len(batch) == 1 else [result for cells in batch for result in self.run([cells])]

    def _merged(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
        frame = self._frame(batch)
        problems = self._model.problems(frame)
        if problems:
            return self._without(batch, problems)
        predictions = self._model.predict(frame, check=False)
        if predictions.height != frame.height:
            raise RuntimeError(f"the model gave {predictions.height} predictions for {frame.height} rows")
        columns = predictions.to_dict(as_series=False)
        bounds = list(_bounds(batch))
        unseen = self._unseen(frame, bounds)
        if len(batch) == 1:
            return [Answer(frame.height, columns, unseen[0])]
        return [
            Answer(end - start, {name: values[start:end] for name, values in columns.items()}, found)
            for (start, end), found in zip(bounds, unseen, strict=True)
        ]

    def _frame(self, batch: Sequence[Cells]) -> pl.DataFrame:
        """One frame of all rows; every column is built once, with the type that validation found."""
        series = []
        for name, dtype in zip(self._names, batch[0].dtypes, strict=True):
            cells = batch[0].columns[name] if len(batch) == 1 else [cell for cells in batch for cell in cells.columns[name]]
            series.append(pl.Series(name, cells, dtype=_POLARS[dtype]))
        return pl.DataFrame(series)

    def _without(self, batch: Sequence[Cells], problems: Sequence[Problem]) -> list[Answer | RequestError]:
        """Fail the requests that have problems, and predict the others without them."""
        if len(batch) == 1:
            return [RequestError.of_problems([_shifted(problem, 0) for problem in problems])]
        if any(problem.row is None for problem in problems):
            return [result for cells in batch for result in self.run([cells])]
        results: list[Answer | RequestError | None] = []
        for start, end in _bounds(batch):
            own = [_shifted(problem, start) for problem in problems if start <= (problem.row or 0) < end]
            results.append(RequestError.of_problems(own) if own else None)
        good = [cells for cells, result in zip(batch, results, strict=True) if result is None]
        answers = iter(self.run(good)) if good else iter(())
        return [next(answers) if result is None else result for result in results]

    def _unseen(self, frame: pl.DataFrame, bounds: Sequence[tuple[int, int]]) -> list[Mapping[str, int]]:
        """Counts for each request. Unseen values are rare, so halves are asked until those that hold them are found."""
        first, last = bounds[0][0], bounds[-1][1]
        part = frame if last - first == frame.height else frame.slice(first, last - first)
        counts = self._model.unseen(part)
        found = {name: count for name, count in counts.items() if count}
        if not found or len(bounds) == 1:
            return [found] * len(bounds)
        middle = len(bounds) // 2
        return self._unseen(frame, bounds[:middle]) + self._unseen(frame, bounds[middle:])


def unreadable(model: Servable) -> Callable[[Mapping[str, tuple[list[Any], Dtype]]], list[Problem]]:
    """What `lode.app.validate.Columns` asks about the good columns of a request that is refused anyway."""

    def ask(columns: Mapping[str, tuple[list[Any], Dtype]]) -> list[Problem]:
        num_rows = len(next(iter(columns.values()))[0])
        given = {name: pl.Series(name, cells, dtype=_POLARS[dtype]) for name, (cells, dtype) in columns.items()}
        empty = [pl.Series(column.name, [None] * num_rows, dtype=pl.String) for column in model.columns if column.name not in given]
        frame = pl.DataFrame([*given.values(), *empty])
        return [_shifted(problem, 0) for problem in model.problems(frame) if problem.row is not None]

    return ask


def _bounds(batch: Sequence[Cells]) -> Iterator[tuple[int, int]]:
    start = 0
    for cells in batch:
        yield start, start + cells.num_rows
        start += cells.num_rows


def _shifted(problem: Problem, start: int) -> Problem:
    """As the request counts its rows; a request, unlike a file, has null for a cell that is not known."""
    if problem.row is None:
        return problem
    return Problem(problem.row - start, problem.column, problem.found, f"{problem.allowed}, or null where it is not known")
