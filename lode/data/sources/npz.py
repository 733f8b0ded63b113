"""Arrays of numpy in one .npz file. Pictures become cells with lode/data/formats/pictures.py."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import files, pictures
from lode.data.place import Place


class Npz(Source):
    """A .npz file of numpy: each array is a column, or several. All arrays that are taken have one row count.

    One axis, or two of which the second is 1: numbers, booleans or words. Three or four axes of bytes (N, H, W) or (N, H, W, C): pictures.
    Two axes (N, k): the columns `name.0` to `name.k-1`. Arrays of Python objects are refused: reading them would run code.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        arrays: `{column: array}`; without it every array is taken under its own name.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        arrays: dict[str, str] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.arrays, self.sha256, self.origin = place, path, arrays, sha256, origin
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        path = files.find(self.place, self.path, self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        found = self._read(path)
        lengths = {name: len(array) for name, array in found.items()}
        if len(set(lengths.values())) > 1:
            shown = listed(f"{name}: {length:,}" for name, length in lengths.items())
            raise DataError(
                f"{self.path}: the arrays have different lengths ({shown}). Name those that belong together with `arrays`."
            )
        if not any(lengths.values()):
            raise DataError(f"{self.path}: no rows in it. Name another file, or other `arrays`.")
        columns: dict[str, pl.Series] = {}
        for name, array in found.items():
            columns |= _columns(name, array, self.path)
        return pl.LazyFrame(columns)

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        """The wanted arrays by column. Errors: DataError for a damaged file, a missing array, one of objects or far too large."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise DataError(
                        f"{self.path}: one array without a name, .npz files of named arrays are read. Save it with np.savez."
                    )
                wanted = self.arrays or {name: name for name in file.files}
                for array in wanted.values():
                    if array not in file.files:
                        raise DataError(
                            f'{self.path}: no array "{array}" (`arrays`), it holds {listed(file.files)}.{near_miss(array, file.files)}'
                            " Name one of them."
                        )
                self._check_size(path, set(wanted.values()))
                return {column: _with_rows(file[array], array, self.path) for column, array in wanted.items()}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
            # RuntimeError: encrypted, or packed in a way that Python does not know. MemoryError: a header that claims any shape.
            raise DataError(f"{self.path}: not readable as .npz ({error}). Get the file again, or save plain arrays.") from error

    def _check_size(self, path: Path, wanted: set[str]) -> None:
        """Errors: DataError where the arrays unpack to far more than the file has."""
        with zipfile.ZipFile(path) as archive:
            claimed = sum(item.file_size for item in archive.infolist() if item.filename.removesuffix(".npy") in wanted)
        if claimed > max(files.FREE_BYTES, self.num_bytes * files.MAX_RATIO):
            raise DataError(
                f"{self.path}: claims {claimed:,} bytes in a file of {self.num_bytes:,}, more than {files.MAX_RATIO} to one. "
                "Get the file again, or save the rows that there are."
            )


def _with_rows(array: np.ndarray, name: str, where: str) -> np.ndarray:
    """Errors: DataError for a single value, which has no rows."""
    if not array.ndim:
        raise DataError(f"{where}: {name} is a single value and has no rows. Leave it out with `arrays`.")
    return array


def _columns(name: str, array: np.ndarray, where: str) -> dict[str, pl.Series]:
    """One series, or one for each place of the second axis. Errors: DataError for an array that is no column."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim in (3, 4) and array.dtype == np.uint8:
        return {name: pl.Series(name, pictures.npy_cells(array), dtype=pl.Binary)}
    if array.ndim > 2 or array.dtype.kind not in "biufSU":
        raise DataError(
            f"{where}: {name} has {array.ndim} axes of {array.dtype}, allowed are one or two axes of numbers or words, and three or four "
            "of bytes (pictures). Leave it out with `arrays`, or save it otherwise."
        )
    if array.ndim == 1:
        return {name: _series(name, array, where)}
    files.check_width(where, array.shape[1])
    return {f"{name}.{place}": _series(f"{name}.{place}", array[:, place], where) for place in range(array.shape[1])}


def _series(name: str, cells: np.ndarray, where: str) -> pl.Series:
    plain: Any = np.ascontiguousarray(cells.astype(cells.dtype.newbyteorder("="), copy=False))
    if cells.dtype.kind in "SU":
        try:
            texts = [cell.decode() if isinstance(cell, bytes) else cell for cell in plain.tolist()]
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: {name} holds text that is not UTF-8. Write it as UTF-8.") from error
        return pl.Series(name, texts, dtype=pl.String)
    if cells.dtype.kind == "f" and cells.dtype.itemsize not in (4, 8):
        plain = plain.astype(np.float32 if cells.dtype.itemsize == 2 else np.float64)
    return pl.Series(name, plain)
