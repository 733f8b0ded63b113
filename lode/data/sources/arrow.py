"""Arrow files: the IPC file format (also called Feather 2) and the IPC stream format. Typed columns, read lazily."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import arrow_stream, files
from lode.data.place import Place

_FILE, _FEATHER_1 = b"ARROW1", b"FEA1"


class Arrow(Source):
    """An Arrow file (.arrow, .feather, .ipc) or stream (.arrows); which one is found by its first bytes. Columns keep their types.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(self, place: Place, *, path: FilePath, sha256: str | None = None, origin: str | None = None) -> None:
        self.place, self.path, self.sha256, self.origin = place, path, sha256, origin

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        path = files.find(self.place, self.path, self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        try:
            frame = self._opened(path)
            schema = frame.collect_schema()
            files.check_width(self.path, len(schema))
            files.check_types(self.path, schema)
            is_empty = frame.head(1).select(pl.len()).collect().item() == 0
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{self.path}: not readable as Arrow ({str(error).splitlines()[0]}). Get the file again.") from error
        except pl.exceptions.PanicException as error:
            raise DataError(
                f"{self.path}: holds a type that is not read ({str(error).splitlines()[0]}), for example decimals of more than "
                f"{files.MAX_DIGITS} digits. Write it with common types."
            ) from error
        if is_empty:
            raise DataError(f"{self.path}: the file has columns but no rows. Name one that has rows.")
        return frame

    def _opened(self, path: Path) -> pl.LazyFrame:
        with path.open("rb") as file:
            start = file.read(len(_FILE))
        if start == _FILE:
            return pl.scan_ipc(path, glob=False)
        if start.startswith(_FEATHER_1):
            raise DataError(f"{self.path}: Feather of version 1, version 2 is needed. Write it again with a library of after 2020.")
        if not arrow_stream.is_stream(path):
            raise DataError(
                f"{self.path}: starts neither like an Arrow file nor like an Arrow stream. Name another `type`, or file."
            )
        return self._stream(path)

    def _stream(self, path: Path) -> pl.LazyFrame:
        arrow_stream.check(path, self.path)
        first = next(arrow_stream.pieces(path, self.path))
        schema = pl.read_ipc_stream(io.BytesIO(first), n_rows=0).schema

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = n_rows
            for piece in arrow_stream.pieces(path, self.path):
                frame = pl.read_ipc_stream(io.BytesIO(piece), columns=with_columns, n_rows=left)
                left = None if left is None else left - frame.height
                yield frame if predicate is None else frame.filter(predicate)
                if left is not None and left <= 0:
                    return

        return register_io_source(batches, schema=schema)
