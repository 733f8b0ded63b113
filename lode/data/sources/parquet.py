"""Parquet files: typed columns, read lazily."""

from __future__ import annotations

import polars as pl

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place


class Parquet(Source):
    """A Parquet file. Columns keep their types.

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
            frame = pl.scan_parquet(path, glob=False)
            schema = frame.collect_schema()
            files.check_width(self.path, len(schema))
            files.check_types(self.path, schema)
            num_rows = frame.select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{self.path}: not readable as Parquet ({str(error).splitlines()[0]}). Get the file again.") from error
        if num_rows == 0:
            raise DataError(f"{self.path}: the file has columns but no rows. Name one that has rows.")
        return frame
