"""A table's rows to arrays, fitted once on the training split: cleaners of cells, then one feature per input. Part of every artifact.

Order: (select) raw cleaners -> parse -> typed cleaners -> features (-> reduce). The same code runs in training and on a request
(promise 2); only rows that were learnt from differ where a feature learns from the target: they get values out of fold.
Read lode/data/contracts.py first; lode/data/arrays.py writes and reads the arrays on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component, FlatSpec, Problem, TensorSpec
from lode.data import cells, quoting
from lode.data.arrays import Progress, no_progress, write_chunks
from lode.data.contracts import ROW, Cleaner, Feature, State
from lode.data.encoding.directions import Directions, check, numbers
from lode.data.encoding.out_of_fold import out_of_fold
from lode.data.reduce import Reduce
from lode.data.select import Select, kept, sample_step, score
from lode.data.threads import Together, side_by_side, team

if TYPE_CHECKING:
    from scipy import sparse

_CHUNK_BYTES = 64 * 2**20
_MAX_CHUNK_ROWS = 100_000


class Preprocessor:
    """What an artifact holds of the data layer.

    features: input -> its feature, in the order of the inputs.
    cleaners: as in the file; only those with scope "cells" are kept, the others do their work before and are gone.
    learnt: states of the raw cleaners from the data stage, in order: the snapshot no longer shows how cells were written.
    select: fitting keeps the inputs that say most; the others are asked for no more. reduce: the numbers become a few directions.
    """

    def __init__(
        self,
        features: Mapping[str, Component],
        cleaners: Sequence[Component] = (),
        *,
        select: Select | None = None,
        reduce: Reduce | None = None,
        learnt: Sequence[State] = (),
    ) -> None:
        self._offered, self._cleaner_words = dict(features), tuple(cleaners)
        self._select, self._reduce, self._learnt = select, reduce, tuple(learnt)
        self._selection: dict[str, Any] | None = None
        self._directions: Directions | None = None
        self._components = dict(features)
        self._features: dict[str, Feature] = {name: REGISTRIES["feature"].create(component) for name, component in features.items()}
        made = [(component, REGISTRIES["cleaner"].create(component)) for component in cleaners]
        self._cleaners: list[tuple[Component, Cleaner]] = [pair for pair in made if pair[1].scope == "cells"]
        self._raw_cleaners = [cleaner for _, cleaner in self._cleaners if cleaner.on == "raw"]
        self._typed_cleaners = [cleaner for _, cleaner in self._cleaners if cleaner.on == "typed"]
        self._examples: dict[str, Any] = dict.fromkeys(features)
        self._flat_spec: FlatSpec | None = None

    def fit(self, train: pl.DataFrame, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """Learn from the training split. target, folds: see `Feature.fit_transform`; needed by features that learn from the target.

        Errors: DataError for a missing column, or one that its feature cannot be learnt from.
        """
        self._keep(list(self._offered))
        self._require(train)
        if self._reduce is not None:
            check(self._components)
        if self._select is not None:
            self._keep(self._selected(self._select, train, target, folds))
        types = {name: component.type for name, component in self._components.items()}
        frame = train.select(self._carried(train))
        for place, cleaner in enumerate(self._raw_cleaners):
            cleaner.restore(self._learnt[place]) if self._learnt else cleaner.fit(frame.lazy(), types)
            frame = cleaner.apply(frame)
        columns = self._parsed(frame)
        self._examples = {name: quoting.example(column) for name, column in columns.items()}
        if self._typed_cleaners:
            frame = frame.with_columns(columns.values())
            for cleaner in self._typed_cleaners:
                cleaner.fit(frame.lazy(), types)
                frame = cleaner.apply(frame)
            columns = {name: frame.get_column(name) for name in columns}
        side_by_side(lambda name: self._features[name].fit(columns[name], target, folds), self._features, train.height)
        if self._reduce is not None and numbers(self._components):
            self._directions = Directions.fit(self._components, self._features, columns, self._reduce)
        self._flat_spec = None

    def _keep(self, names: Sequence[str]) -> None:
        """Go on with these inputs only."""
        if list(self._features) != list(names):
            made = {name: self._features.get(name) or REGISTRIES["feature"].create(self._offered[name]) for name in names}
            self._features, self._components = made, {name: self._offered[name] for name in names}
            self._examples = dict.fromkeys(names)
        self._flat_spec, self._directions = None, None

    def _selected(self, select: Select, train: pl.DataFrame, target: np.ndarray | None, folds: np.ndarray | None) -> list[str]:
        """The inputs that stay; a preprocessor of its own looks at a sample of the rows."""
        step = sample_step(train.height, len(self._features))
        sample = train.gather_every(step)
        target, folds = (None if array is None else array[::step] for array in (target, folds))
        scout = Preprocessor(self._offered, self._cleaner_words, learnt=self._learnt)
        scout.fit(sample, target, folds)
        columns = scout._cleaned(sample)
        scores = {}
        for name, feature in scout._features.items():
            matrix = _asked(feature, columns[name], folds, _flat)
            scores[name] = score(select.by, feature.flat_spec, matrix, target)
        names = kept(scores, select.keep)
        self._selection = {"by": select.by, "keep": select.keep, "kept": names, "scores": scores}
        return names

    @property
    def learns_target(self) -> bool:
        """Whether an input learns from the target: then training rows need folds, here and in `fit`."""
        return any(feature.learns_target for feature in self._features.values())

    @property
    def selection(self) -> Mapping[str, Any] | None:
        """What `select` decided: {"by", "keep", "kept" (inputs), "scores" (of all inputs)}; None without it."""
        return self._selection

    @property
    def reduction(self) -> Mapping[str, Any] | None:
        """What `reduce` learned: {"name", "inputs", "explained" (share of the variance, each)}; None without it."""
        return None if self._directions is None else self._directions.facts()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a request must have."""
        return tuple(self._features)

    def words(self, name: str) -> Sequence[str]:
        """What each code of an input's array stands for; empty where codes have no names."""
        return self._features[name].words()

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """What `arrays` gives, per input; the directions of `reduce` come last, as one more."""
        specs = {name: feature.spec for name, feature in self._features.items()}
        if flags := self._flags:
            specs[self._flags_name] = TensorSpec("float32", (len(flags),))
        return specs if self._directions is None else self._directions.specs(specs)

    @property
    def flat_spec(self) -> FlatSpec:
        """What `flat` gives."""
        if self._flat_spec is None:
            names: list[str] = []
            cardinalities: list[int] = []
            parts = {name: feature.flat_spec for name, feature in self._features.items()}
            if flags := self._flags:
                parts[self._flags_name] = FlatSpec(flags, (0,) * len(flags))
            parts = parts if self._directions is None else self._directions.flat_specs(parts)
            for name, part in parts.items():
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

    def arrays(self, frame: pl.DataFrame, folds: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Per input, `spec.dtype` (N, *spec.shape). Cells that cannot be read count as missing; `problems` names them.

        folds: for rows that were learnt from, as in `fit`, negative for the others; see `Feature.without`.
        Errors: DataError for a missing column.
        """
        with team(frame.height) as together:
            return self._arrays(frame, together, folds)

    def _arrays(self, frame: pl.DataFrame, together: Together, folds: np.ndarray | None) -> dict[str, np.ndarray]:
        columns = self._cleaned(frame)
        made = together(lambda name: _asked(self._features[name], columns[name], folds, _transform), self._features)
        arrays = dict(zip(self._features, made, strict=True))
        if self._flags:
            arrays[self._flags_name] = columns[self._flags_name].to_numpy()
        return arrays if self._directions is None else self._directions.arrays(arrays)

    def flat(self, frame: pl.DataFrame, folds: np.ndarray | None = None) -> np.ndarray | sparse.csr_matrix:
        """float32 (N, F); a CSR matrix where an input gives one. folds: as in `arrays`. Errors: DataError for a missing column."""
        columns = self._cleaned(frame)
        directions = self._directions
        reduced = () if directions is None else directions.inputs
        parts = [_asked(feature, columns[name], folds, _flat) for name, feature in self._features.items() if name not in reduced]
        if self._flags:
            parts.append(columns[self._flags_name].to_numpy())
        if directions is not None:
            parts.append(directions.transform({name: self._features[name].transform(columns[name]) for name in reduced}))
        if len(parts) == 1:
            return parts[0]
        if not all(isinstance(part, np.ndarray) for part in parts):
            from scipy import sparse  # 0.2 s to import: only texts need it

            return sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr", dtype=np.float32)
        return np.concatenate(parts, axis=1) if parts else np.zeros((frame.height, 0), dtype=np.float32)

    def write_arrays(
        self, rows: pl.DataFrame | Path, folder: Path, progress: Progress = no_progress, *, folds: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """`arrays` of a frame or a Parquet file, written to .npy files in `folder` in bounded memory and mapped back, read only.

        Each file appears whole or not at all. Errors: DataError for a missing column.
        """
        specs = self.specs
        row_bytes = sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in specs.values())
        chunk_rows = int(np.clip(_CHUNK_BYTES // max(row_bytes, 1), 64, _MAX_CHUNK_ROWS))
        num_rows, frames = _frames(rows, self.inputs, chunk_rows)
        with team(min(num_rows, chunk_rows)) as together:
            chunks = (self._arrays(frame, together, part) for frame, part in _with_folds(frames, folds))
            return write_chunks(chunks, specs, num_rows, folder, together, progress)

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
                Problem(int(row), name, quoting.shown(cells_given[int(row)]), feature.expects)
                for row in cells.rejected(before, after)
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
        state: State = {"features": features, "cleaners": cleaners}
        if self._selection is not None:
            state["select"] = self._selection
        if self._directions is not None:
            state["reduce"] = self._directions.state()
        return state

    def restore(self, state: State) -> None:
        """Take over what `state` gave; `features` and `cleaners` must be those it was fitted with."""
        for record in state["features"]:
            self._features[record["name"]].restore(record["state"])
            self._examples[record["name"]] = record["example"]
        for record, (_, cleaner) in zip(state["cleaners"], self._cleaners, strict=True):
            cleaner.restore(record["state"])
        self._selection = state.get("select")
        self._directions = Directions.restored(state["reduce"]) if "reduce" in state else None
        self._flat_spec = None

    @classmethod
    def from_state(cls, state: State) -> Preprocessor:
        """The preprocessor that gave this state."""
        features = {record["name"]: Component(record["type"], record["options"]) for record in state["features"]}
        made = cls(features, [Component(record["type"], record["options"]) for record in state["cleaners"]])
        made.restore(state)
        return made

    @property
    def _flags(self) -> tuple[str, ...]:
        """Inputs of which models are told which cells were missing before a cleaner filled them."""
        return tuple(dict.fromkeys(name for cleaner in self._typed_cleaners for name in cleaner.flags))

    @property
    def _flags_name(self) -> str:
        """What the array of flags is called: no input's name."""
        return "missing" + "_" * max((len(name) for name in self._features if name.rstrip("_") == "missing"), default=0)

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
            empty: dict[str, pl.Series] = {}
            for cleaner in self._typed_cleaners:
                empty |= {name: typed.get_column(name).is_null() for name in cleaner.flags}
                typed = cleaner.apply(typed)
            columns = {name: typed.get_column(name) for name in columns}
            if empty:
                columns[self._flags_name] = pl.Series(pl.DataFrame(empty).to_numpy().astype(np.float32))
        return columns

    def _column_problems(self, frame: pl.DataFrame, strict: bool) -> list[Problem]:
        have = frame.columns
        if have == list(self._features):
            return []
        known = self._features.keys()
        dropped = self._selection["scores"].keys() if self._selection else ()
        extra = [name for name in have if name not in known and name != ROW and name not in dropped]
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


def _transform(feature: Feature, column: pl.Series) -> Any:
    return feature.transform(column)


def _flat(feature: Feature, column: pl.Series) -> Any:
    return feature.flat(column)


def _asked(feature: Feature, column: pl.Series, folds: np.ndarray | None, ask: Callable[[Feature, pl.Series], Any]) -> Any:
    return ask(feature, column) if folds is None else out_of_fold(feature, column, folds, ask)


def _with_folds(frames: Iterable[pl.DataFrame], folds: np.ndarray | None) -> Iterable[tuple[pl.DataFrame, np.ndarray | None]]:
    """Each chunk of rows with its own folds."""
    start = 0
    for frame in frames:
        yield frame, None if folds is None else folds[start : start + frame.height]
        start += frame.height


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
