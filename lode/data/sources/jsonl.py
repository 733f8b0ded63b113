"""JSON lines: one object per line, also compressed (.gz, .zst)."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data import delimited, files
from lode.data.contracts import Source
from lode.data.place import Place

_EXAMPLE = '{"age": 31}'


class Jsonl(Source):
    """One JSON object per line (.jsonl, .ndjson; also .gz, .zst). Columns take the type that fits all their cells, else text.

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
            # The whole file is looked at for its types: a guess from the first lines would fail on a later one.
            frame = pl.scan_ndjson(path, infer_schema_length=None)
            num_columns = len(frame.collect_schema())
            # Cells are only read now, so a broken line is found here and not in the middle of the work.
            num_rows = frame.select(pl.len(), pl.all().null_count()).collect(engine="streaming")["len"].item()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._bad_line(path, error) from error
        if not num_rows or not num_columns:
            raise self._no_objects()
        return frame

    def _no_objects(self) -> DataError:
        return DataError(f"{self.path}: the file holds no objects. Each line must be one, for example {_EXAMPLE}.")

    def _bad_line(self, path: Path, cause: Exception) -> DataError:
        """The error for the first line that is no JSON object."""
        number = num_objects = 0
        for block in delimited.whole_records(files.byte_chunks(path), "", files.CHUNK_BYTES):
            for line in block.splitlines():
                number += 1
                num_objects += bool(line.strip())
                problem = _problem(line)
                if problem:
                    return DataError(
                        f"{self.path}: line {number} {problem}. Each line must be one JSON object, for example {_EXAMPLE}."
                    )
        if not num_objects:
            return self._no_objects()
        return DataError(f"{self.path}: not readable as JSON lines ({str(cause).splitlines()[0]}). Check the file.")


def _problem(line: bytes) -> str:
    """What is wrong with a line, or an empty string."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "is not UTF-8"
    except ValueError as error:
        return f"is no JSON ({error})"
    return "" if isinstance(value, dict) else f"holds a JSON {type(value).__name__}"
