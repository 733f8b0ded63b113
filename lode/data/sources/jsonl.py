"""JSON lines: one object per line, also compressed (.gz, .zst)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import beginnings, delimited, files, json_lines, json_records, json_types
from lode.data.place import Place

_BLOCK_BYTES = 1 << 22


class Jsonl(Source):
    """One JSON object per line (.jsonl, .ndjson; also .gz, .zst). Columns take the type that fits all their cells, else text.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(self, place: Place, *, path: FilePath, sha256: str | None = None, origin: str | None = None) -> None:
        self.place, self.path, self.sha256, self.origin = place, path, sha256, origin
        self._schema: pl.Schema | None = None

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        path = files.find(self.place, self.path, self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        if self._schema is None:
            beginnings.check(path, self.path, "Save it as UTF-8.")
            is_escaped = bool(files.check_lines(path, self.path, "\\u"))
            self._schema = self._inferred(path, is_escaped)
        if not self._begins_with_mark(path):
            return pl.scan_ndjson(path, schema=self._schema)
        schema = self._schema

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = n_rows
            for block in self._blocks(path):
                frame = pl.read_ndjson(block, schema=schema)
                frame = frame if left is None else frame.head(left)
                left = None if left is None else left - frame.height
                frame = frame if with_columns is None else frame.select(with_columns)
                yield frame if predicate is None else frame.filter(predicate)
                if left == 0:
                    return

        return register_io_source(batches, schema=schema)

    def _begins_with_mark(self, path: Path) -> bool:
        """Whether there is a byte order mark, as Windows writes it, with which polars reads nothing."""
        return next(files.byte_chunks(path), b"").startswith(codecs.BOM_UTF8)

    def _inferred(self, path: Path, is_escaped: bool) -> pl.Schema:
        """Names and types of the columns. is_escaped: whether there are characters written as numbers.

        Errors: DataError where a line is no JSON object, or there are none.
        """
        if is_escaped and any(json_lines.has_half(block) for block in self._blocks(path)):
            self._by_block(path)  # which names the line
        try:
            # The whole file is looked at for its types: a guess from the first lines would fail on a later one.
            frame = pl.scan_ndjson(path, infer_schema_length=None)
            schema = frame.collect_schema()
            files.check_width(self.path, len(schema))
            # Cells are only read now, so a broken line is found here and not in the middle of the work.
            counts = frame.select(pl.len(), pl.all().count().name.prefix("of ")).collect(engine="streaming").row(0)
            num_rows = counts[0]
            if not json_lines.are_once(self._blocks(path), num_rows, sum(counts[1:])):
                self._check_keys(path)
        except (pl.exceptions.PolarsError, OSError):
            schema, num_rows = self._by_block(path)
        if not num_rows or not schema:
            raise DataError(f'{self.path}: the file holds no objects. Each line must be one, for example {{"age": 31}}.')
        if any(json_types.depth(dtype) > json_records.MAX_DEPTH for dtype in schema.values()):
            raise DataError(
                f"{self.path}: nested more than {json_records.MAX_DEPTH} levels deep, which is no table. Flatten it first."
            )
        # Numbers of more than 64 bits are text, as in every source.
        wide = [name for name, dtype in schema.items() if json_types.is_wide(dtype)]
        return pl.Schema({**schema, **{name: json_types.final(schema[name]) for name in wide}})

    def _check_keys(self, path: Path) -> None:
        num_lines = 0
        for block in self._blocks(path):
            json_lines.check_keys(block, self.path, "line", num_lines)
            num_lines += block.count(b"\n")

    def _by_block(self, path: Path) -> tuple[pl.Schema, int]:
        """The same, some megabytes at a time: names the line that is broken, and takes cells of several types for text."""
        types: dict[str, pl.DataType] = {}
        num_lines = 0
        for block in self._blocks(path):
            found, height = json_lines.types_of(block, self.path, "line", num_lines)
            types = json_types.union_fields(types, found)
            files.check_width(self.path, len(types))
            num_lines += height
        return pl.Schema({name: json_types.final(dtype) for name, dtype in types.items()}), num_lines if types else 0

    def _blocks(self, path: Path) -> Iterator[bytes]:
        """Whole lines, some megabytes at a time, without a byte order mark at the start."""
        blocks = delimited.whole_records(files.byte_chunks(path), "", _BLOCK_BYTES, self.path)
        yield next(blocks, b"").removeprefix(codecs.BOM_UTF8)
        yield from blocks
