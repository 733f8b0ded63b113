"""A table's rows to arrays, fitted once on the training split: cleaners of cells, then one feature per input. Part of every artifact.

Order: raw cleaners -> parse -> typed cleaners -> features. The same code runs in training and on a request (promise 2). Read
lode/data/contracts.py first; lode/data/arrays.py writes and reads the arrays on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component, FlatSpec, Problem, TensorSpec
from lode.data import cells
from lode.data.arrays import Progress, no_progress, write_chunks
from lode.data.contracts import ROW, Cleaner, Feature, State
from lode.data.threads import Together, side_by_side, team

if TYPE_CHECKING:
    from scipy import sparse

_MAX_FOUND_CHARS = 60
_MAX_EXAMPLE_CHARS = 80
_CHUNK_BYTES = 64 * 2**20
_MAX_CHUNK_ROWS = 100_000


class Preprocessor:
    """What an artifact holds of the data layer.

    features: input -> its feature, in the order of the inputs.
    cleaners: as in the file; only those with scope "cells" are kept, the others do their work before and are gone.
    """

    def __init__(self, features: Mapping[str, Component], cleaners: Sequence[Component] = ()) -> None:
        self._components = dict(features)
        self._features: dict[str, Feature] = {name: REGISTRIES["feature"].create(component) for name, component in features.items()}
        made = [(component, REGISTRIES["cleaner"].create(component)) for component in cleaners]
        self._cleaners: list[tuple[Component, Cleaner]] = [pair for pair in made if pair[1].scope == "cells"]
        self._raw_cleaners = [cleaner for _, cleaner in self._cleaners if cleaner.on == "raw"]
        self._typed_cleaners = [cleaner for _, cleaner in self._cleaners if cleaner.on == "typed"]
        self._examples: dict[str, Any] = dict.fromkeys(features)
        self._flat_spec: FlatSpec | None = None

    def fit(self, train: pl.DataFrame, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Learn from the training split. target: float32 (N,) of the first output; folds: int (N,) fold of each row.

        Errors: DataError for a missing column, or one that its feature cannot be learnt from.
        """
        self._require(train)
        types = {name: component.type for name, component in self._components.items()}
        frame = train.select(self._carried(train))
        for cleaner in self._raw_cleaners:
            cleaner.fit(frame, types)
            frame = cleaner.apply(frame)
        columns = self._parsed(frame)
        self._examples = {name: _example(column) for name, column in columns.items()}
        if self._typed_cleaners:
            frame = frame.with_columns(columns.values())
            for cleaner in self._typed_cleaners:
                cleaner.fit(frame, types)
                frame = cleaner.apply(frame)
            columns = {name: frame.get_column(name) for name in columns}
        side_by_side(lambda name: self._features[name].fit(columns[name], target, folds), self._features, train.height)
        self._flat_spec = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a request must have."""
        return tuple(self._features)

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """What `arrays` gives, per input."""
        return {name: feature.spec for name, feature in self._features.items()}

    @property
    def flat_spec(self) -> FlatSpec:
        """What `flat` gives."""
        if self._flat_spec is None:
            names: list[str] = []
            cardinalities: list[int] = []
            for name, feature in self._features.items():
                part = feature.flat_spec
                names += [f"{name}.{label}" if label else name for label in part.names]
                cardinalities += part.cardinalities
            self._flat_spec = FlatSpec(tuple(names), tuple(cardinalities))
        return self._flat_spec

    @property
    def columns(self) -> tuple[ColumnSchema, ...]:
        """What a request's columns are."""
        return tuple(
            ColumnSchema(name, self._components[name].type, feature.kind, feature.expects, self._examples[name])
            for name, feature in self._features.items()
        )

    def arrays(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """Per input, `spec.dtype` (N, *spec.shape). Cells that cannot be read count as missing; `problems` names them.

        Errors: DataError for a missing column.
        """
        with team(frame.height) as together:
            return self._arrays(frame, together)

    def _arrays(self, frame: pl.DataFrame, together: Together) -> dict[str, np.ndarray]:
        columns = self._cleaned(frame)
        made = together(lambda name: self._features[name].transform(columns[name]), self._features)
        return dict(zip(self._features, made, strict=True))

    def flat(self, frame: pl.DataFrame) -> np.ndarray | sparse.csr_matrix:
        """float32 (N, F); a CSR matrix where an input gives one. Errors: DataError for a missing column."""
        columns = self._cleaned(frame)
        parts = [feature.flat(columns[name]) for name, feature in self._features.items()]
        if len(parts) == 1:
            return parts[0]
        if not all(isinstance(part, np.ndarray) for part in parts):
            from scipy import sparse  # 0.2 s to import: only texts need it

            return sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr", dtype=np.float32)
        return np.concatenate(parts, axis=1) if parts else np.zeros((frame.height, 0), dtype=np.float32)

    def write_arrays(self, rows: pl.DataFrame | Path, folder: Path, progress: Progress = no_progress) -> dict[str, np.ndarray]:
        """`arrays` of a frame or a Parquet file, written to .npy files in `folder` in bounded memory and mapped back, read only.

        Each file appears whole or not at all. Errors: DataError for a missing column.
        """
        specs = self.specs
        row_bytes = sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in specs.values())
        chunk_rows = int(np.clip(_CHUNK_BYTES // max(row_bytes, 1), 64, _MAX_CHUNK_ROWS))
        num_rows, frames = _frames(rows, self.inputs, chunk_rows)
        with team(min(num_rows, chunk_rows)) as together:
            return write_chunks((self._arrays(frame, together) for frame in frames), specs, num_rows, folder, progress)

    def problems(self, frame: pl.DataFrame, strict: bool = False) -> list[Problem]:
        """Every cell that cannot be read, and every missing column; with `strict`, every unknown column too. Empty cells are allowed."""
        found = self._column_problems(frame, strict)
        known = {name: feature for name, feature in self._features.items() if name in frame.columns}
        raw = self._raw(frame)
        for name, feature in known.items():
            before = raw.get_column(name)
            after = feature.parse(before)
            if after.null_count() == before.null_count():
                continue
            cells_given = frame.get_column(name)
            found += [
                Problem(int(row), name, _shown(cells_given[int(row)]), feature.expects) for row in cells.rejected(before, after)
            ]
        return found

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """Per input, how many cells hold a value that training never saw. Errors: DataError for a missing column."""
        columns = self._cleaned(frame)
        return {name: feature.unseen(columns[name]) for name, feature in self._features.items()}

    def state(self) -> State:
        """Everything that `from_state` needs: JSON values and arrays."""
        features = [
            {"name": name, **_record(self._components[name]), "example": self._examples[name], "state": feature.state()}
            for name, feature in self._features.items()
        ]
        cleaners = [{**_record(component), "state": cleaner.state()} for component, cleaner in self._cleaners]
        return {"features": features, "cleaners": cleaners}

    def restore(self, state: State) -> None:
        """Take over what `state` gave; `features` and `cleaners` must be those it was fitted with."""
        for record in state["features"]:
            self._features[record["name"]].restore(record["state"])
            self._examples[record["name"]] = record["example"]
        for record, (_, cleaner) in zip(state["cleaners"], self._cleaners, strict=True):
            cleaner.restore(record["state"])
        self._flat_spec = None

    @classmethod
    def from_state(cls, state: State) -> Preprocessor:
        """The preprocessor that gave this state."""
        features = {record["name"]: Component(record["type"], record["options"]) for record in state["features"]}
        made = cls(features, [Component(record["type"], record["options"]) for record in state["cleaners"]])
        made.restore(state)
        return made

    def _carried(self, frame: pl.DataFrame) -> list[str]:
        return [*self._features, *([ROW] if ROW in frame.columns else [])]

    def _require(self, frame: pl.DataFrame) -> None:
        have = frame.columns
        missing = [name for name in self._features if name not in have]
        if missing:
            raise DataError(
                f'column "{missing[0]}": not in the table, which has {listed(have)}.{near_miss(missing[0], have)}'
                " Add the column, or rename the one that is meant."
            )

    def _raw(self, frame: pl.DataFrame) -> pl.DataFrame:
        for cleaner in self._raw_cleaners:
            frame = cleaner.apply(frame)
        return frame

    def _parsed(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        return {name: feature.parse(frame.get_column(name)) for name, feature in self._features.items()}

    def _cleaned(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Parsed and cleaned columns of the inputs."""
        try:
            columns = self._parsed(self._raw(frame))
        except pl.exceptions.ColumnNotFoundError:
            self._require(frame)
            raise
        if self._typed_cleaners:
            typed = frame.select(self._carried(frame)).with_columns(columns.values())
            for cleaner in self._typed_cleaners:
                typed = cleaner.apply(typed)
            columns = {name: typed.get_column(name) for name in columns}
        return columns

    def _column_problems(self, frame: pl.DataFrame, strict: bool) -> list[Problem]:
        have = frame.columns
        if have == list(self._features):
            return []
        known = self._features.keys()
        extra = [name for name in have if name not in known and name != ROW]
        found = []
        for name, feature in self._features.items():
            if name not in have:
                allowed = f'a column "{name}" ({feature.expects}).{near_miss(name, extra)}'
                found.append(Problem(None, name, "no such column", allowed))
        if strict:
            for name in extra:
                allowed = f"only the model's columns: {listed(known)}.{near_miss(name, known)}"
                found.append(Problem(None, name, "an unknown column", allowed))
        return found


def _record(component: Component) -> dict[str, Any]:
    return {"type": component.type, "options": dict(component.options)}


def _frames(rows: pl.DataFrame | Path, inputs: Sequence[str], chunk_rows: int) -> tuple[int, Iterable[pl.DataFrame]]:
    """How many rows there are, and the rows in chunks."""
    if isinstance(rows, pl.DataFrame):
        starts = range(0, rows.height, chunk_rows)
        return rows.height, (rows.slice(start, chunk_rows) for start in starts)
    scan = pl.scan_parquet(rows)
    have = scan.collect_schema().names()
    wanted = [name for name in (*inputs, ROW) if name in have]
    num_rows = int(scan.select(pl.len()).collect().item())
    return num_rows, scan.select(wanted).collect_batches(chunk_size=chunk_rows, maintain_order=True)


def _shown(cell: Any) -> str:
    """The repr of a cell, cut to 60 characters."""
    text = repr(cell[:_MAX_FOUND_CHARS] if isinstance(cell, str | bytes) else cell)
    too_long = len(text) > _MAX_FOUND_CHARS or (isinstance(cell, str | bytes) and len(cell) > _MAX_FOUND_CHARS)
    return text[: _MAX_FOUND_CHARS - 3] + "..." if too_long else text


def _example(column: pl.Series) -> Any:
    """The first cell that is not null, as JSON; None for pictures."""
    if column.dtype == pl.Binary:
        return None
    first = column.first(ignore_nulls=True)
    if isinstance(first, float):
        return int(first) if first.is_integer() and abs(first) < 2**53 else first
    if isinstance(first, datetime):
        return first.date().isoformat() if first.time() == time() else first.isoformat()
    return first[:_MAX_EXAMPLE_CHARS] if isinstance(first, str) else first
