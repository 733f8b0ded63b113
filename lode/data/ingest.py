"""Raw sources -> snapshot: read, infer, clean, split, write. The data stage, top to bottom; nothing is decided without a note.

Order: raw cleaners -> parse -> cleaners of the whole source -> split -> cleaners of training rows. Cleaners of cells that are part of the
model (lode/data/preprocess.py) are only reported here: the snapshot keeps the cells as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import borders, cells, folds, snapshot, split
from lode.data.bounds import Bounds
from lode.data.changes import ChangeLog
from lode.data.cleaning import Cleaning
from lode.data.columns import Columns, check_names, resolve_inputs, resolve_outputs
from lode.data.contracts import Feature, State
from lode.data.place import Place, Progress, no_progress
from lode.data.reading import Raw, Wanted, read
from lode.data.split import PARTS, Split
from lode.data.storage.shelf import Shelf
from lode.data.table import Table
from lode.data.targets import cells_of, joined, separator_of
from lode.data.threads import side_by_side

if TYPE_CHECKING:
    from lode.core.spec import DataSpec, InputSpec, OutputSpec

_NO_FOLD = 2**32 - 1
_NUM_SAMPLES = 5
_WORDS = ("category", "binary")
"""Features whose few different cells are stored as an Enum."""
_PATH = "path"
"""Column of the sources of pictures, sounds and texts; says which file was rejected."""
_WHOLE = {"binary": "file", "list": "list"}
"""Kinds of features whose cells are files or lists: no cleaner of cells sees them, and rows with one that cannot be read are dropped."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What the data stage did. rows: per part. raw: path, sha256 and bytes of every source. content_hash: of the split files.

    learnt: states of the raw cleaners of cells, in the order of the file: what they learnt of how cells are written.
    """

    inputs: dict[str, Component]
    outputs: dict[str, Component]
    rows: dict[str, int]
    notes: list[str]
    raw: list[dict[str, Any]]
    content_hash: str
    learnt: list[State]


def ingest(
    data: DataSpec,
    inputs: Sequence[InputSpec] | None,
    outputs: Sequence[OutputSpec],
    place: Place,
    folder: Path,
    progress: Progress = no_progress,
    *,
    extra: Mapping[str, str] | None = None,
    keep_unlabelled: bool = False,
) -> Ingested:
    """Read the sources of a file and write a snapshot into `folder`.

    inputs: None infers every column. extra: columns to carry along (money per row), with the key that asks; inputs only if named.
    keep_unlabelled: write rows without a label to a part of their own, `unlabelled.parquet` (train.pretrain learns from them).
    Errors: DataError, one line per problem.
    """
    folder.mkdir(parents=True, exist_ok=True)
    Shelf(folder, 0).clear()  # what a killed run left
    try:
        return _Ingest(data, inputs, outputs, place, folder, progress, extra or {}, keep_unlabelled).run()
    finally:
        Shelf(folder, 0).clear()


@dataclass(slots=True)
class _Ingest:
    """One ingestion: the steps of `run`, in order, share the table, what is known about columns, and the report."""

    data: DataSpec
    inputs: Sequence[InputSpec] | None
    outputs: Sequence[OutputSpec]
    place: Place
    folder: Path
    progress: Progress
    extra: Mapping[str, str]
    keep_unlabelled: bool = False
    unlabelled: np.ndarray | None = None
    columns: Columns = field(default_factory=Columns)
    notes: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, Any] = field(default_factory=dict)
    split: Split = field(init=False)
    cleaning: Cleaning = field(init=False)
    has_folds: bool = False
    borders: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    shelf: Shelf = field(init=False)
    log: ChangeLog = field(init=False)

    def run(self) -> Ingested:
        """Read, type, clean, split, write."""
        self.split = self._split()
        self.shelf = Shelf(self.folder, Bounds(**self.data.bounds).memory)
        self.log = ChangeLog(self.shelf)
        try:
            return self._steps()
        finally:
            self.log.stop()

    def _steps(self) -> Ingested:
        self.cleaning = Cleaning(self.data.clean, self.log, self.notes, self.dropped)
        self.progress("read", 0, 4, {})
        raw = self._read()
        table = Table(raw.frame, raw.num_rows, self.shelf, raw.parts, dict(raw.words), raw.finite)
        self.progress("types", 1, 4, {})
        self._type(table, raw.names)
        where = [_PATH] if _PATH in table.columns and _PATH not in self.kept else []
        self.cleaning.source(table, [*self.kept, *where], self.columns.types)
        self.progress("split", 2, 4, {})
        codes = self._divide(table)
        self.progress("write", 3, 4, {})
        rows = self._write(table, codes)
        self._write_report(raw, rows)
        self.progress("write", 4, 4, {})
        return Ingested(
            inputs=dict(self.columns.inputs), outputs=dict(self.columns.outputs), rows=rows, notes=self.notes, raw=raw.raw,
            content_hash=self.content_hash, learnt=self.cleaning.learnt,
        )  # fmt: skip

    def _split(self) -> Split:
        chosen = Split(**self.data.split)
        if "all" not in self.data.sources:
            if self.data.split.get("by", "given") != "given":
                raise DataError(
                    f'data.split.by: found "{chosen.by}", but the sources are given as parts. Leave it out, or give one source.'
                )
            return Split(**{**self.data.split, "by": "given"})
        return chosen

    def _read(self) -> Raw:
        """Read what is needed; hold every name in the file against the columns that there are."""
        names = [item.name for item in self.outputs]
        asked = [*((f"outputs.{name}", name) for name in names), *((key, name) for name, key in self.extra.items())]
        asked += [("data.split", name) for name in self._split_columns]
        asked += [("outputs", name) for name in self._carried if name not in (*self._split_columns, *self.extra)]
        asked += [(f"inputs.{item.name}", item.name) for item in self.inputs or ()]
        words = {item.name for item in self.outputs if item.task is not None and cells_of(item.task.type) != "numbers"}
        numbers = {item.name for item in self.outputs if item.task is not None and cells_of(item.task.type) == "numbers"}
        lists: set[str] = set()
        for item in self.inputs or ():
            if item.feature is not None:
                is_list = _kind_of(item.feature) == "list"
                (lists if is_list else numbers if item.feature.type == "number" else words).add(item.name)
        columns = None if self.inputs is None else tuple(dict.fromkeys([*(name for _, name in asked), _PATH]))
        plain = frozenset({*self._carried, *lists} - set(names))
        wanted = Wanted(columns, frozenset(numbers), frozenset(words), plain, number_hints=self.cleaning.leaves_numbers)
        raw = read(self.data.sources, self.place, wanted, self.shelf)
        free = {f"outputs.{item.name}" for item in self.outputs if _is_free(item)}
        check_names(raw.available, [pair for pair in asked if pair[0] not in free])
        self.notes += raw.notes
        return raw

    @property
    def _split_columns(self) -> list[str]:
        return [name for name in (self.split.column, self.split.stratify, self.split.fold_column) if name is not None]

    @property
    def _carried(self) -> list[str]:
        """Columns that the split and the value need; inputs only if they are named."""
        groups = [item.task.options.get("group") for item in self.outputs if item.task is not None]
        return [*self._split_columns, *self.extra, *(name for name in groups if name is not None)]

    @property
    def _cell_types(self) -> dict[str, str]:
        """Inputs that cleaners of cells see: not files and lists."""
        return {name: item.type for name, item in self.columns.inputs.items() if _kind_of(item) not in _WHOLE}

    @property
    def kept(self) -> list[str]:
        """The snapshot's columns but `__row__`: inputs, outputs, and what the split and the value need."""
        marks = [folds.FOLD] if self.has_folds else []
        return list(dict.fromkeys([*self.columns.inputs, *self.columns.outputs, *self._carried, *marks]))

    def _type(self, table: Table, names: Sequence[str]) -> None:
        """Decide what each column is, mend raw cells, parse all; drop rows without a label or with a broken file."""
        apart = {item.name for item in self.outputs} | set(self.extra)
        if self.split.by in ("group", "given") and self.split.column is not None:
            apart.add(self.split.column)
        apart |= {name for name in (self.split.fold_column,) if name is not None}
        resolve_inputs(table, names, self.inputs, apart, self.cleaning.repair(), self.columns)
        self.cleaning.raw(table, self._cell_types, [name for name in self._carried if name in names])
        problems = self._parse(table, names)
        self._empty_labels(table, problems)
        if problems:
            raise DataError("\n".join(problems))
        resolve_outputs(table, self.outputs, self.columns)
        problems = [problem for name, item in self.columns.outputs.items() if (problem := self._parse_output(table, name, item))]
        if problems:
            raise DataError("\n".join(problems))
        self.notes += self.columns.notes()

    def _parse(self, table: Table, names: Sequence[str]) -> list[str]:
        """Type the inputs. Returns what is wrong with their cells; rows with broken files or lists are dropped instead."""
        features = {name: REGISTRIES["feature"].create(component) for name, component in self.columns.inputs.items()}
        before = {name: (table.typed.get(name), table.dtype(name)) for name in features}
        # Files are large: one column of them at a time.
        num_rows = 0 if any(feature.kind in _WHOLE for feature in features.values()) else table.num_rows
        types = {name: component.type for name, component in self.columns.inputs.items()}
        found = side_by_side(lambda name: table.type_as(name, features[name], types[name] in _WORDS), features, num_rows)
        problems = []
        for (name, feature), bad in zip(features.items(), found, strict=True):
            # Of texts only blank ones become nothing: JSON tells "" apart from null, other sources do not
            if not len(bad) or (types[name] == "text" and before[name][1] == pl.String):
                continue
            if feature.kind in _WHOLE:
                problems += self._drop_broken(table, name, feature, bad, names)
                continue
            samples = cells.shown(table.gather_of(name, before[name][0], bad[:_NUM_SAMPLES]))
            self.rejected[name] = {"count": len(bad), "samples": samples}
            said = f"{', '.join(dict.fromkeys(samples))}; first in row {int(bad[0]):,}, counted from 0"
            problems.append(
                f"inputs.{name}: {len(bad):,} cells are not {feature.expects} ({said}). "
                "Add `{type: types}` to data.clean, mend them, or name another type."
            )
        return problems

    def _drop_broken(self, table: Table, name: str, feature: Feature, bad: np.ndarray, names: Sequence[str]) -> list[str]:
        table.keep[bad] = False
        word = {"image": "picture", "audio": "recording"}.get(self.columns.inputs[name].type, _WHOLE[feature.kind])
        self.dropped[f"{name}: not a readable {word}"] = len(bad)
        where = table.gather(_PATH, bad[:_NUM_SAMPLES]).to_list() if _PATH in names else bad[:_NUM_SAMPLES].tolist()
        self.rejected[name] = {"count": len(bad), "samples": where}
        self.notes.append(f"{name}: {len(bad):,} {word}s cannot be read and were dropped ({listed(str(item) for item in where)}).")
        said = f"inputs.{name}: no {word} can be read, {feature.expects} is needed. Correct the type or its options."
        return [] if table.keep.any() else [said]

    def _empty_labels(self, table: Table, problems: list[str]) -> None:
        """Rows without a label teach nothing. They are dropped before anything is decided about outputs."""
        for item in self.outputs:
            if _is_free(item):
                if item.name not in table.columns:  # nothing is labelled
                    table.set(item.name, pl.Series(item.name, [None] * table.num_rows, dtype=pl.String))
                continue
            if item.task is not None and cells_of(item.task.type) == "lists":
                table.set(item.name, joined(table.column(item.name), separator_of(item.task)))
                continue  # no label is an answer too
            given = table.column(item.name)
            column = cells.nulled(given)
            if column is not given:
                table.set(item.name, column)
            if column.dtype == pl.Binary or column.dtype.is_nested():
                problems.append(f"outputs.{item.name}: holds {column.dtype}, words or numbers are needed. Name another column.")
                continue
            if not column.has_nulls():
                continue
            empty = column.is_null().to_numpy()
            num_empty = int(np.count_nonzero(empty & table.keep))
            if self.keep_unlabelled:
                before = np.zeros(table.num_rows, bool) if self.unlabelled is None else self.unlabelled
                self.unlabelled = before | (empty & table.keep)
            table.keep &= ~empty
            self.dropped[f"{item.name}: no label"] = num_empty
            if table.keep.any():
                then = "are for pretraining only" if self.keep_unlabelled else "were dropped"
                self.notes.append(f"outputs: {num_empty:,} rows without a label ({item.name}) {then}.")
            else:
                problems.append(f"outputs.{item.name}: every cell is empty, there is nothing to learn. Name another column.")

    def _parse_output(self, table: Table, name: str, component: Component) -> str | None:
        """Numbers are parsed; classes keep the words that the data have."""
        if cells_of(component.type) != "numbers":
            table.keep_words(name)
            return None
        before = table.typed.get(name)
        num_known = table.num_rows - table.column(name).null_count()
        bad = table.type_as(name, REGISTRIES["feature"].create(Component("number")), False)
        if len(bad):
            samples = cells.shown(table.gather_of(name, before, bad[:_NUM_SAMPLES]))
            return (
                f"outputs.{name}: {len(bad):,} of {num_known:,} cells are no number ({', '.join(dict.fromkeys(samples))}). "
                "Mend them, or name another task."
            )
        values = table.kept_column(name)
        if values.has_nulls():
            return f"outputs.{name}: {values.null_count():,} cells hold blanks only. Empty them, or mend them."
        low: Any = values.min()
        if low == values.max():
            return (
                f"outputs.{name}: all {len(values):,} numbers are {float(low):g}, there is nothing to learn. Name another column."
            )
        return None

    def _divide(self, table: Table) -> np.ndarray:
        """uint8 (N,): the part of each row, split.DROPPED for rows that are gone."""
        targets = {name: component.type for name, component in self.columns.outputs.items()}
        first = next(iter(targets or self.columns.inputs))  # documents have no outputs
        needed = dict.fromkeys([*self._split_columns, first])
        frame = pl.DataFrame([table.kept_column(name).rename(name) for name in needed])
        codes = np.full(table.num_rows, split.DROPPED, dtype=np.uint8)
        was_kept = table.keep.copy()
        if table.parts is None:
            codes[table.keep] = split.assign_codes(frame, self.split, targets, self.notes)
        else:
            codes[table.keep] = split.complete(table.parts[table.keep], frame, self.split, targets, self.notes)
        self._close_gaps(table, codes)
        kept = codes[table.keep]
        frame = frame if len(kept) == frame.height else frame.filter(pl.Series(codes[was_kept] != split.DROPPED))
        self._warn_of_new_labels(frame, kept, targets)
        if folds.asked(self.split):
            self._assign_folds(table, frame, kept, targets)
        return codes

    def _close_gaps(self, table: Table, codes: np.ndarray) -> None:
        """Rows in the gap between two parts are gone."""
        num_gone = int(np.count_nonzero(table.keep & (codes == split.DROPPED)))
        if num_gone:
            table.keep &= codes != split.DROPPED
            self.dropped["in a gap of the split"] = num_gone
            self.notes.append(f"split: {num_gone:,} rows lie within {self.split.gap} before a later part and were dropped.")

    def _assign_folds(self, table: Table, frame: pl.DataFrame, codes: np.ndarray, targets: Mapping[str, str]) -> None:
        """A fold number beside every training and validation row."""
        learnt = codes != split.TEST
        found = folds.fold_numbers(frame.filter(pl.Series(learnt)), self.split, targets, self.notes)
        numbers = np.full(table.num_rows, _NO_FOLD, dtype=np.uint32)
        numbers[np.flatnonzero(table.keep)[learnt]] = found
        column = pl.Series(folds.FOLD, numbers)
        table.set(folds.FOLD, column.set(column == _NO_FOLD, None))
        self.has_folds = True

    def _warn_of_new_labels(self, frame: pl.DataFrame, codes: np.ndarray, targets: dict[str, str]) -> None:
        name = next(iter(targets), None)
        if name is None or cells_of(self.columns.outputs[name].type) != "words":
            return
        train = frame[name].filter(pl.Series(codes == split.TRAIN)).unique()
        others = frame[name].filter(pl.Series(codes != split.TRAIN)).unique()
        new = set(others.cast(pl.String).to_list()) - set(train.cast(pl.String).to_list())
        if new:
            self.notes.append(
                f"split: the labels {listed(sorted(new))} of {name} do not occur in training; no model can predict them."
            )

    def _write(self, table: Table, codes: np.ndarray) -> dict[str, int]:
        """Clean the training rows, write the three parts, and report what the model's own cleaners will change."""
        self.cleaning.training(table, self.kept, self.columns.types, codes == split.TRAIN)
        masks = {part: (codes == code) & table.keep for code, part in enumerate(PARTS)}
        self.borders, sentences = borders.prove(table, masks, self.split)
        self.notes += sentences
        parts = masks if self.unlabelled is None else {**masks, snapshot.UNLABELLED: self.unlabelled}
        as_it_is = replace(table, typed=dict(table.typed))  # cleaners of cells change the table while its parts are written
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as hasher:

            def written(part: str) -> Future[bytes]:
                path = self.folder / f"{part}.parquet"
                snapshot.write_rows(as_it_is.lazy(self.kept, parts[part]), path)
                return hasher.submit(snapshot.part_digest, path)  # while the next part is written

            digests = writer.map(written, parts)
            self.cleaning.cells(table, self._cell_types, masks)
            self.content_hash = snapshot.hash_of(digest.result() for digest in list(digests)[: len(PARTS)])
        return {part: int(np.count_nonzero(mask)) for part, mask in masks.items()}

    def _write_report(self, raw: Raw, rows: dict[str, int]) -> None:
        self.log.write(self.folder / "changes.parquet")
        snapshot.write_json({"columns": self.columns.to_json()}, self.folder / "schema.json")
        cells_changed: dict[str, int] = {}
        for tally in self.log.every():
            if tally.column is not None:
                cells_changed[tally.cleaner] = cells_changed.get(tally.cleaner, 0) + tally.changed
        report = {
            "rows": {"read": raw.num_rows, "kept": sum(rows.values()), "dropped": self.dropped, **rows},
            "cells_changed": cells_changed, "cleaning": [tally.to_json() for tally in self.log.every()],
            "borders": self.borders, "rejected": self.rejected, "notes": self.notes, "raw": raw.raw,
        }  # fmt: skip
        snapshot.write_json(report, self.folder / "report.json")


def _kind_of(component: Component) -> str:
    """How the cells of a feature travel."""
    feature: type[Feature] = REGISTRIES["feature"].get(component.type)
    return feature.kind


def _is_free(item: OutputSpec) -> bool:
    """Whether the output needs no column: its labels, if there are any, only judge."""
    return item.task is not None and cells_of(item.task.type) == "flags"
