"""Batch prediction: any source in, any table format out, in bounded memory; rows that cannot be predicted go beside the output."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import snapshot
from lode.data.access import watch
from lode.data.contracts import ROW
from lode.data.place import Place
from lode.model.contracts import Progress, no_progress
from lode.pipeline.loading import Loaded

CHUNK_ROWS = 16_384
PATH = "path"
"""Column of the source `images` that says which picture a row is; it goes into the output."""
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl",
            ".zip": "images", ".tar": "images", ".tar.gz": "images", ".tgz": "images", ".tar.xz": "images"}  # fmt: skip
OUTPUTS = (".csv", ".parquet", ".jsonl")


def source_of(path: str, options: Mapping[str, Any]) -> Component:
    """The source for a path, by its suffix (a folder holds images) unless `type` is among the options."""
    if "type" in options:
        return Component(str(options["type"]), {"path": path, **{key: value for key, value in options.items() if key != "type"}})
    name = path.lower().removesuffix(".gz").removesuffix(".zst") if not path.lower().endswith(".tar.gz") else path.lower()
    if Path(path).is_dir():
        return Component("images", {"path": path, **options})
    for suffix, word in SUFFIXES.items():
        if name.endswith(suffix):
            return Component(word, {"path": path, **options})
    raise DataError(f'{path}: found no known suffix, allowed: {listed(SUFFIXES, 12)}. Name the source: --source "{{type: csv}}".')


def predict_file(
    model: Loaded, source: Component, output: Path, place: Place, keep: bool = False, progress: Progress = no_progress
) -> dict[str, Any]:
    """Predict every row of a source into `output` (its suffix decides the format); whole or not at all.

    keep: the input columns (but files and lists) go into the output beside the answers. Rows are numbered by their position in the
        source (`__row__`).
    Rejected rows: `<output>.rejected.<suffix>` with row, column, found, allowed.
    Returns {"rows", "predicted", "rejected", "output", "rejected_output", "unseen"}; the outputs are None where no row went there.
    Errors: DataError; also where the answers would be written over the rows.
    """
    suffix = _suffix(output)
    frames = REGISTRIES["source"].create(source, place).scan().drop(ROW, strict=False).with_row_index(ROW).cast({ROW: pl.UInt64})
    rejected_path = output.with_name(f"{output.name.removesuffix(suffix)}.rejected{suffix}")
    _not_over_rows((output, rejected_path), source, place)
    made_by = {"lode.model": model.name, "lode.version": str(model.version), "lode.hash": model.hash}
    counts, unseen = {"rows": 0, "predicted": 0, "rejected": 0}, dict[str, int]()
    with _Writer(output, suffix, made_by) as good, _Writer(rejected_path, suffix, made_by) as bad:
        for chunk in _chunks(frames, model):
            problems = model.problems(chunk)
            _whole_file(problems, source)
            frame, rejects = _divide(chunk, problems)
            counts["rows"] += chunk.height
            counts["predicted"] += frame.height
            counts["rejected"] += chunk.height - frame.height
            if frame.height:
                answers = model.predict(frame, check=False)
                good.write(pl.concat([_beside(frame, model, keep), answers], how="horizontal"))
                for name, count in model.unseen(frame).items():
                    unseen[name] = unseen.get(name, 0) + count
            bad.write(rejects)
            progress("predict", counts["rows"], 0, {})
        if not counts["rows"]:
            raise DataError(f"{source.options.get('path', source.type)}: no rows. Nothing was predicted.")
    written = {
        "output": str(output) if counts["predicted"] else None,
        "rejected_output": str(rejected_path) if counts["rejected"] else None,
    }
    return {**counts, **written, "unseen": {k: n for k, n in unseen.items() if n}}


def _beside(frame: pl.DataFrame, model: Loaded, keep: bool) -> pl.DataFrame:
    """What goes beside the answers: the row number, the path of a picture, and with `keep` the inputs that a table can hold."""
    inputs = {column.name for column in model.columns}
    names = [name for name in frame.columns if name not in inputs or (keep and _is_plain(frame[name].dtype))]
    return frame.select(names)


def _is_plain(dtype: pl.DataType) -> bool:
    """Whether every format that we write can hold such cells."""
    return dtype != pl.Binary and not dtype.is_nested()


def _chunks(frames: pl.LazyFrame, model: Loaded) -> Iterator[pl.DataFrame]:
    """The model's columns and the row number, some thousand rows at a time."""
    have = frames.collect_schema().names()
    wanted = [column.name for column in model.columns]
    missing = [name for name in wanted if name not in have]
    if missing:
        hints = "".join(near_miss(name, [other for other in have if other not in wanted]) for name in missing[:1])
        raise DataError(f"columns: found {listed(have)}, needed {listed(missing)} too.{hints} Add the columns, or rename them.")
    beside = [PATH] if PATH in have and PATH not in wanted else []
    yield from frames.select(ROW, *beside, *wanted).collect_batches(chunk_size=CHUNK_ROWS)


def _whole_file(problems: list[Any], source: Component) -> None:
    for problem in problems:
        if problem.row is None:
            raise DataError(
                f"{source.options.get('path', source.type)}:{problem.column}: found {problem.found}, allowed: {problem.allowed}."
            )


def _divide(chunk: pl.DataFrame, problems: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that can be predicted, and one line for each thing wrong with the others."""
    schema = {ROW: pl.UInt64, "column": pl.String, "found": pl.String, "allowed": pl.String}
    numbers = chunk[ROW]
    lines = [
        {ROW: numbers[problem.row], "column": problem.column, "found": problem.found, "allowed": problem.allowed}
        for problem in problems
    ]
    wrong = {problem.row for problem in problems}
    if not wrong:
        return chunk, pl.DataFrame(schema=schema)
    good = [index for index in range(chunk.height) if index not in wrong]
    return chunk[good], pl.DataFrame(lines, schema=schema)


def _not_over_rows(outputs: Sequence[Path], source: Component, place: Place) -> None:
    read = {path.resolve() for path in watch.files_of(source, place)}
    for output in outputs:
        if output.resolve() in read:
            raise DataError(f"{output}: found the file of the rows, allowed: another one. Name another output.")


def _suffix(output: Path) -> str:
    if output.suffix not in OUTPUTS:
        raise DataError(f'{output}: found "{output.suffix}", allowed: {listed(OUTPUTS)}. Name the output with one of these.')
    return output.suffix


def _listless(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as JSON texts: a CSV has no place for them."""
    lists = [name for name, dtype in frame.schema.items() if dtype == pl.List]
    texts = [pl.Series(name, [json.dumps(cell, ensure_ascii=False) for cell in frame[name].to_list()]) for name in lists]
    return frame.with_columns(texts)


class _Writer:
    """A table written chunk by chunk under a temporary name; it gets its own name when all went well, and only if it has rows.

    made_by: what a Parquet file says of the model, for `lode lineage`; the other formats have no place for it.
    """

    def __init__(self, path: Path, suffix: str, made_by: Mapping[str, str]):
        self.path, self.suffix, self.made_by = path, suffix, dict(made_by)
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.parts = path.with_name(f".{path.name}.{os.getpid()}.parts")
        self.chunks = 0

    def __enter__(self) -> _Writer:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A killed process of the same number (in a container they repeat) may have left its half.
        self.temporary.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        return self

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows."""
        if not frame.height:
            return
        if self.suffix == ".parquet":
            # Parquet has its footer at the end: the chunks wait as Arrow files and are streamed into one table when all are there.
            self.parts.mkdir(exist_ok=True)
            frame.write_ipc(self.parts / f"{self.chunks:08d}.arrow")
        else:
            with self.temporary.open("ab") as file:
                if self.suffix == ".csv":
                    _listless(frame).write_csv(file, include_header=self.chunks == 0)
                else:
                    frame.write_ndjson(file)
        self.chunks += 1

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if error is None and self.chunks:
                if self.suffix == ".parquet":
                    snapshot.sink_plain(pl.scan_ipc(self.parts / "*.arrow"), self.temporary, self.made_by)
                os.replace(self.temporary, self.path)
            elif error is None:
                # An older file of this name would be taken for this run's.
                self.path.unlink(missing_ok=True)
        finally:
            self.temporary.unlink(missing_ok=True)
            shutil.rmtree(self.parts, ignore_errors=True)
