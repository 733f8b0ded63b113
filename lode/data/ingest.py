"""Raw sources -> snapshot: read, infer, clean, split, write. The data stage, top to bottom; nothing is decided without a note.

Order: raw cleaners -> parse -> cleaners of the whole source -> split -> cleaners of training rows. Cleaners of cells that are part of the
model (lode/data/preprocess.py) are only reported here: the snapshot keeps the cells as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import changes, leaks, snapshot, split
from lode.data.columns import Columns, check_names, resolve_inputs, resolve_outputs
from lode.data.contracts import ROW, Cleaner
from lode.data.infer import Repair
from lode.data.place import Place
from lode.data.reading import SPOOL, Raw, Wanted, read
from lode.data.split import PARTS, Split
from lode.data.table import Table

if TYPE_CHECKING:
    from lode.core.spec import DataSpec, InputSpec, OutputSpec

Progress = Callable[[str, int, int, dict[str, float]], None]

_DROPPED = 255
_NUM_SAMPLES = 5
_WORDS = ("category", "binary")
"""Features whose few different cells are stored as an Enum."""
_PATH = "path"
"""Column of the source `images`; says which picture was rejected."""


def no_progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What the data stage did. rows: per part. raw: path, sha256 and bytes of every source. content_hash: of the split files."""

    inputs: dict[str, Component]
    outputs: dict[str, Component]
    rows: dict[str, int]
    notes: list[str]
    raw: list[dict[str, Any]]
    content_hash: str


def ingest(
    data: DataSpec,
    inputs: Sequence[InputSpec] | None,
    outputs: Sequence[OutputSpec],
    place: Place,
    folder: Path,
    progress: Progress = no_progress,
    *,
    extra: Sequence[str] = (),
) -> Ingested:
    """Read the sources of a file and write a snapshot into `folder`.

    inputs: None infers every column. extra: columns to carry along as they are (money per row), inputs only if named.
    Errors: DataError, one line per problem.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _Ingest(data, inputs, outputs, place, folder, progress, tuple(extra)).run()
    finally:
        (folder / SPOOL).unlink(missing_ok=True)


@dataclass(slots=True)
class _Ingest:
    """One ingestion: the steps of `run`, in order, share the table, what is known about columns, and the report."""

    data: DataSpec
    inputs: Sequence[InputSpec] | None
    outputs: Sequence[OutputSpec]
    place: Place
    folder: Path
    progress: Progress
    extra: tuple[str, ...]
    columns: Columns = field(default_factory=Columns)
    notes: list[str] = field(default_factory=list)
    changed: list[pl.DataFrame] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, Any] = field(default_factory=dict)
    split: Split = field(init=False)
    cleaners: list[tuple[str, Cleaner]] = field(init=False)

    def run(self) -> Ingested:
        """Read, type, clean, split, write."""
        self.split = self._split()
        self.cleaners = [(item.type, REGISTRIES["cleaner"].create(item)) for item in self.data.clean]
        self.progress("read", 0, 4, {})
        raw = self._read()
        table = Table(raw.frame, np.arange(raw.num_rows, dtype=np.uint64), raw.parts, dict(raw.words))
        self.progress("types", 1, 4, {})
        self._type(table, raw.names)
        table = self._clean_source(table)
        self.progress("split", 2, 4, {})
        codes = self._divide(table)
        self._warn_of_leaks(table)
        self.progress("write", 3, 4, {})
        rows = self._write(table, codes)
        self._write_report(raw, rows)
        self.progress("write", 4, 4, {})
        return Ingested(
            dict(self.columns.inputs), dict(self.columns.outputs), rows, self.notes, raw.raw, snapshot.content_hash(self.folder)
        )

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
        carried = [name for name in (self.split.column, self.split.stratify) if name is not None]
        asked = [*((f"outputs.{name}", name) for name in names), *(("value", name) for name in self.extra)]
        asked += [("data.split", name) for name in carried]
        asked += [(f"inputs.{item.name}", item.name) for item in self.inputs or ()]
        words = {item.name for item in self.outputs if item.task is not None and item.task.type != "number"}
        numbers = {item.name for item in self.outputs if item.task is not None and item.task.type == "number"}
        for item in self.inputs or ():
            if item.feature is not None:
                (numbers if item.feature.type == "number" else words).add(item.name)
        columns = None if self.inputs is None else tuple(dict.fromkeys([*(name for _, name in asked), _PATH]))
        has_raw_cleaner = any(cleaner.on == "raw" for _, cleaner in self.cleaners)
        plain = frozenset((*carried, *self.extra)) - set(names)
        wanted = Wanted(columns, frozenset(numbers), frozenset(words), plain, hints=not has_raw_cleaner)
        raw = read(self.data.sources, self.place, wanted, self.folder)
        check_names(raw.available, asked)
        self.notes += raw.notes
        return raw

    @property
    def kept(self) -> list[str]:
        """The snapshot's columns but `__row__`: inputs, outputs, and what the split and the value need."""
        more = [name for name in (self.split.column, self.split.stratify, *self.extra) if name is not None]
        return list(dict.fromkeys([*self.columns.inputs, *self.columns.outputs, *more]))

    def _type(self, table: Table, names: Sequence[str]) -> None:
        """Decide what each column is, mend raw cells, parse all; drop rows without a label or with a broken picture."""
        apart = {item.name for item in self.outputs} | set(self.extra)
        if self.split.by in ("group", "given") and self.split.column is not None:
            apart.add(self.split.column)
        raw_cleaners = [(word, cleaner) for word, cleaner in self.cleaners if cleaner.on == "raw"]
        resolve_inputs(table, names, self.inputs, apart, _repair(raw_cleaners), self.columns)
        self._clean_raw(table, raw_cleaners)
        problems = [problem for name, item in self.columns.inputs.items() if (problem := self._parse(table, name, item, names))]
        self._empty_labels(table, problems)
        if problems:
            raise DataError("\n".join(problems))
        resolve_outputs(table, self.outputs, self.columns)
        problems = [problem for name, item in self.columns.outputs.items() if (problem := self._parse_output(table, name, item))]
        if problems:
            raise DataError("\n".join(problems))
        self.notes += self.columns.notes()

    def _clean_raw(self, table: Table, cleaners: Sequence[tuple[str, Cleaner]]) -> None:
        names = [name for name in self.columns.inputs if self.columns.inputs[name].type != "image"]
        for word, cleaner in cleaners:
            before = table.frame(names)
            types = {name: self.columns.inputs[name].type for name in names}
            cleaner.fit(before, types)
            after = cleaner.apply(before)
            self._report(word, before, after, None)
            table.typed |= {name: after[name] for name in names if after[name] is not before[name]}

    def _parse(self, table: Table, name: str, component: Component, names: Sequence[str]) -> str | None:
        """Type one input. Returns what is wrong with its cells; rows with broken pictures are dropped instead."""
        feature = REGISTRIES["feature"].create(component)
        before = table.typed.get(name)
        bad = table.type_as(name, feature, component.type in _WORDS)
        if not len(bad):
            return None
        if component.type == "image":
            self._drop_pictures(table, name, bad, names)
            return None
        original = before if before is not None else table.raw_column(name)
        samples = [_shown(value) for value in original.gather(bad[:_NUM_SAMPLES]).to_list()]
        self.rejected[name] = {"count": len(bad), "samples": samples}
        return (
            f"inputs.{name}: {len(bad):,} cells are not {feature.expects} ({', '.join(samples)}; first in row {int(bad[0]):,}). "
            "Add `{type: types}` to data.clean, mend them, or name another type."
        )

    def _drop_pictures(self, table: Table, name: str, bad: np.ndarray, names: Sequence[str]) -> None:
        table.keep[bad] = False
        self.dropped[f"{name}: not a readable picture"] = len(bad)
        where = table.raw_column(_PATH).gather(bad[:_NUM_SAMPLES]).to_list() if _PATH in names else bad[:_NUM_SAMPLES].tolist()
        self.rejected[name] = {"count": len(bad), "samples": where}
        self.notes.append(f"{name}: {len(bad):,} pictures cannot be read and were dropped ({listed(str(item) for item in where)}).")

    def _empty_labels(self, table: Table, problems: list[str]) -> None:
        """Rows without a label teach nothing. They are dropped before anything is decided about outputs."""
        for item in self.outputs:
            column = table.column(item.name)
            if column.dtype.is_float() and column.is_nan().any():
                column = table.typed[item.name] = column.fill_nan(None)
            if column.dtype == pl.Binary or column.dtype.is_nested():
                problems.append(f"outputs.{item.name}: holds {column.dtype}, words or numbers are needed. Name another column.")
                continue
            if not column.has_nulls():
                continue
            empty = column.is_null().to_numpy()
            num_empty = int(np.count_nonzero(empty & table.keep))
            table.keep &= ~empty
            self.dropped[f"{item.name}: no label"] = num_empty
            if table.keep.any():
                self.notes.append(f"outputs: {num_empty:,} rows without a label ({item.name}) were dropped.")
            else:
                problems.append(f"outputs.{item.name}: every cell is empty, there is nothing to learn. Name another column.")

    def _parse_output(self, table: Table, name: str, component: Component) -> str | None:
        """Numbers are parsed; classes keep the words that the data have."""
        if component.type != "number":
            table.keep_words(name)
            return None
        known = table.column(name).is_not_null().to_numpy()
        bad = table.type_as(name, REGISTRIES["feature"].create(Component("number")), False)
        if len(bad):
            samples = [_shown(value) for value in table.raw_column(name).gather(bad[:_NUM_SAMPLES]).to_list()]
            return (
                f"outputs.{name}: {len(bad):,} of {int(known.sum()):,} cells are no number ({', '.join(samples)}). "
                "Mend them, or name another task."
            )
        values = table.kept_column(name)
        low: Any = values.min()
        if low == values.max():
            return (
                f"outputs.{name}: all {len(values):,} numbers are {float(low):g}, there is nothing to learn. Name another column."
            )
        return None

    def _clean_source(self, table: Table) -> Table:
        """Cleaners that see all rows before the split."""
        self._need_rows(int(table.keep.sum()))
        for word, cleaner in self.cleaners:
            if cleaner.scope != "source":
                continue
            before = table.frame(self.kept)
            cleaner.fit(before, self.columns.types)
            after = cleaner.apply(before)
            self._report(word, before, after, None)
            self._need_rows(after.height)
            table = table.replaced(after)
        return table

    def _need_rows(self, num_rows: int) -> None:
        if num_rows == 0:
            reasons = listed(f"{why}: {count:,} rows" for why, count in self.dropped.items())
            raise DataError(f"data: no rows are left ({reasons or 'the sources have none'}). Check the sources and the cleaners.")

    def _divide(self, table: Table) -> np.ndarray:
        """uint8 (N,): the part of each row, _DROPPED for rows that are gone."""
        targets = {name: component.type for name, component in self.columns.outputs.items()}
        first = next(iter(targets))
        needed = dict.fromkeys(name for name in (self.split.column, self.split.stratify, first) if name is not None)
        frame = pl.DataFrame([table.kept_column(name).rename(name) for name in needed])
        codes = np.full(table.num_rows, _DROPPED, dtype=np.uint8)
        if table.parts is None:
            codes[table.keep] = split.assign_codes(frame, self.split, targets, self.notes)
        else:
            codes[table.keep] = split.complete(table.parts[table.keep], frame, self.split, targets, self.notes)
        self._warn_of_new_labels(frame, codes[table.keep], targets)
        return codes

    def _warn_of_new_labels(self, frame: pl.DataFrame, codes: np.ndarray, targets: dict[str, str]) -> None:
        name, word = next(iter(targets.items()))
        if word == "number":
            return
        train = frame[name].filter(pl.Series(codes == split.TRAIN)).unique()
        others = frame[name].filter(pl.Series(codes != split.TRAIN)).unique()
        new = set(others.cast(pl.String).to_list()) - set(train.cast(pl.String).to_list())
        if new:
            self.notes.append(
                f"split: the labels {listed(sorted(new))} of {name} do not occur in training; no model can predict them."
            )

    def _warn_of_leaks(self, table: Table) -> None:
        for name, component in self.columns.outputs.items():
            columns = [column for column, item in self.columns.inputs.items() if item.type not in ("image", "text")]
            self.notes += leaks.leaks(table, columns, name, component.type == "number")

    def _write(self, table: Table, codes: np.ndarray) -> dict[str, int]:
        """Clean the training rows, write the three parts, and report what the model's own cleaners will change."""
        training = [(word, cleaner) for word, cleaner in self.cleaners if cleaner.scope == "training"]
        cell = [(word, cleaner) for word, cleaner in self.cleaners if cleaner.scope == "cells" and cleaner.on == "typed"]
        rows = {}
        for code, part in enumerate(PARTS):
            mask = codes == code
            if part == "train" and training:
                frame = self._clean_training(table.frame(self.kept, mask), training)
                table_rows, lazy = frame.height, frame.lazy()
            else:
                table_rows, lazy = int(mask.sum()), table.lazy(self.kept, mask)
            snapshot.write_rows(lazy, self.folder / f"{part}.parquet")
            rows[part] = table_rows
            for word, cleaner in cell:
                self._report_cells(word, cleaner, part)
        return rows

    def _clean_training(self, frame: pl.DataFrame, cleaners: Sequence[tuple[str, Cleaner]]) -> pl.DataFrame:
        for word, cleaner in cleaners:
            cleaner.fit(frame, self.columns.types)
            after = cleaner.apply(frame)
            self._report(word, frame, after, "train")
            frame = after
        if not frame.height:
            raise DataError(
                f"data.clean: no training rows are left after {listed(word for word, _ in cleaners)}. Change the cleaners."
            )
        return frame

    def _report_cells(self, word: str, cleaner: Cleaner, part: str) -> None:
        names = [name for name, component in self.columns.inputs.items() if component.type != "image"]
        before = pl.read_parquet(self.folder / f"{part}.parquet", columns=[ROW, *names])
        if part == "train":
            cleaner.fit(before, {name: self.columns.inputs[name].type for name in names})
        self._report(word, before, cleaner.apply(before), part)

    def _report(self, word: str, before: pl.DataFrame, after: pl.DataFrame, part: str | None) -> None:
        """Keep what a cleaner changed; say how much."""
        found = changes.diff(before, after)
        self.changed.append(found.with_columns(pl.lit(word).alias("why"), pl.lit(part, pl.String).alias("split")))
        num_dropped = before.height - after.height
        cells_changed = found.filter(pl.col("column").is_not_null())
        lost = cells_changed.filter(pl.col("after").is_null())
        where = f" of {part}" if part else ""
        if num_dropped:
            self.dropped[word] = self.dropped.get(word, 0) + num_dropped
            self.notes.append(f"clean {word}: {num_dropped:,} rows{where} were dropped.")
        if cells_changed.height:
            self.notes.append(f"clean {word}: {cells_changed.height:,} cells{where} were changed{_lost(lost)}.")

    def _write_report(self, raw: Raw, rows: dict[str, int]) -> None:
        schema = {**changes.SCHEMA, "why": pl.String, "split": pl.String}
        changed = pl.concat([pl.DataFrame(schema=schema), *self.changed])
        snapshot.write_rows(changed.lazy(), self.folder / "changes.parquet")
        snapshot.write_json({"columns": self.columns.to_json()}, self.folder / "schema.json")
        cell_counts = changed.filter(pl.col("column").is_not_null()).group_by("why", maintain_order=True).len().rows()
        report = {
            "rows": {"read": raw.num_rows, "kept": sum(rows.values()), "dropped": self.dropped, **rows},
            "cells_changed": dict(cell_counts), "rejected": self.rejected, "notes": self.notes, "raw": raw.raw,
        }  # fmt: skip
        snapshot.write_json(report, self.folder / "report.json")


def _repair(cleaners: Sequence[tuple[str, Cleaner]]) -> Repair | None:
    """What raw cleaners would make of cells, if their column were of a type; for inference."""
    if not cleaners:
        return None

    def repair(values: pl.Series, word: str) -> pl.Series:
        frame = values.to_frame("value")
        for _, cleaner in cleaners:
            cleaner.fit(frame, {"value": word})
            frame = cleaner.apply(frame)
        return frame["value"]

    return repair


def _lost(lost: pl.DataFrame) -> str:
    """How many cells a cleaner could not read, with examples."""
    if not lost.height:
        return ""
    samples = ", ".join(repr(value) for value in lost["before"].unique(maintain_order=True).head(_NUM_SAMPLES).to_list())
    return f", {lost.height:,} of them to missing ({samples})"


def _shown(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else str(value)[:40]
