"""One JSON document: a list of records, or a mapping of columns. Reads with json_records.py, json_lines.py and json_types.py of
lode/data/formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import beginnings, files, json_lines, json_records, json_types
from lode.data.place import Place


class Json(Source):
    """One JSON document (.json; also .gz, .xz, .zst): a list of objects, or an object that maps each column to its cells.

    Objects in a record become columns `outer.inner`; lists stay lists. A column takes the type that fits all its cells, else text.
    A list of records may be larger than memory; a mapping of columns may not.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        records: dotted key of the list (or mapping) in the document: `data.items`. Left out, the document itself is meant.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        records: str | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.records, self.sha256, self.origin = place, path, records, sha256, origin
        self._schema: pl.Schema | None = None
        self._mapping: pl.DataFrame | None = None

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        path = files.find(self.place, self.path, self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        if self._schema is None and self._mapping is None:
            beginnings.check(path, self.path, "Save it as UTF-8.")
            self._look(path)
        if self._mapping is not None:
            return self._mapping.lazy()
        nested = pl.Schema(self._schema or {})
        schema = json_types.flat(pl.DataFrame(schema=nested), self.path).schema

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            # Columns that are not asked for are not even parsed.
            wanted = {name: nested[name] for name in nested if with_columns is None or json_types.covers(name, with_columns)}
            left = n_rows
            for block in json_records.blocks(path, self.path, self.records):
                # A schema without columns would drop the rows.
                rows = pl.read_ndjson(block, schema=wanted or dict(nested))
                frame = json_types.flat(rows if left is None else rows.head(left), self.path)
                frame = frame if with_columns is None else frame.select(with_columns)
                yield frame if predicate is None else frame.filter(predicate)
                left = None if left is None else left - rows.height
                if left is not None and left <= 0:
                    return

        return register_io_source(batches, schema=schema)

    def _look(self, path: Path) -> None:
        """Read the document once, for its types and its faults."""
        schema: dict[str, pl.DataType] = {}
        num_records = 0
        for block in json_records.blocks(path, self.path, self.records):
            if block.startswith(b"\n"):
                self._mapping = self._columns(block)
                return
            types, height = json_lines.types_of(block, self.path, "record", num_records)
            schema = json_types.union_fields(schema, types)
            files.check_width(self.path, json_types.num_columns(schema))
            num_records += height
        if not num_records or not schema:
            raise DataError(
                f'{self.path}: the list holds no records with columns. It must look like [{{"age": 31}}, {{"age": 44}}].'
            )
        self._schema = pl.Schema({name: json_types.final(dtype) for name, dtype in schema.items()})

    def _columns(self, text: bytes) -> pl.DataFrame:
        """The table of a mapping of columns to lists of cells, or to mappings of a row's name to its cell."""
        try:
            found = json_lines.load(text)
        except ValueError as error:
            raise DataError(f"{self.path}: the document {error}. Get the file again.") from error
        columns = {name: list(cells.values()) if isinstance(cells, dict) else cells for name, cells in found.items()}
        lists = [name for name, cells in columns.items() if isinstance(cells, list)]
        if len(lists) < len(columns) or not _same_rows(found):
            inner = [f"`records: {_dotted(self.records, name)}`" for name in found if isinstance(found[name], list)]
            hint = f"Name its list of records: {listed(inner)}." if inner else "Name the list of records with `records`."
            raise DataError(
                f"{self.path}: found an object with the keys {listed(found)}, a list of records or columns of one length is needed. {hint}"
            )
        files.check_width(self.path, len(columns))
        if not columns or not next(iter(columns.values())):
            raise DataError(f"{self.path}: the mapping holds no rows. Name another file, or the right key with `records`.")
        return json_types.flat(json_types.frame_of(columns), self.path)


def _same_rows(found: dict[str, Any]) -> bool:
    """Whether all columns have the same number of cells, or the same names of rows."""
    keys = [list(cells) if isinstance(cells, dict) else len(cells) for cells in found.values() if isinstance(cells, dict | list)]
    return all(key == keys[0] for key in keys)


def _dotted(records: str | None, name: str) -> str:
    return f"{records}.{name}" if records else name
