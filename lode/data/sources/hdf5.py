"""HDF5 files: one dataset per column, a compound table, or one matrix. Read row blocks at a time with h5py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place

_BATCH_BYTES = 1 << 24
_NAMES = ("columns", "column_names", "names")
"""Attributes of a matrix that name its columns."""


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a column lies. field: of a compound dataset, or None. index: of a matrix or of an array in a field, or None."""

    dataset: str
    dtype: np.dtype[Any]
    field: str | None = None
    index: int | None = None


class Hdf5(Source):
    """An HDF5 file (.h5, .hdf5). What `dataset` names is a group, whose datasets of one axis are the columns (all of one length), or a
    compound dataset, whose fields are, or a dataset of two axes, whose columns are named by `columns` or by its attribute "columns".

    Numbers, booleans and enumerations keep their types; strings must be UTF-8. Rows are read some megabytes at a time.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        dataset: path of the group or dataset in the file: `/train/table`.
        columns: names of a matrix's columns.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        dataset: str = "/",
        columns: list[str] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.dataset, self.columns = place, path, dataset, columns
        self.sha256, self.origin = sha256, origin
        self.notes: list[str] = []
        self._layout: tuple[dict[str, _Column], int] | None = None

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        path = files.find(self.place, self.path, self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        if self._layout is None:
            self.notes.clear()
            with self._opened(path) as file:
                self._layout = self._look(file)
        columns, num_rows = self._layout
        schema = {name: _series(name, np.empty(0, column.dtype), self.path).dtype for name, column in columns.items()}

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            wanted = {name: columns[name] for name in (with_columns if with_columns is not None else columns)}
            stop = num_rows if n_rows is None else min(n_rows, num_rows)
            with self._opened(path) as file:
                step = _step(file, wanted.values())
                for start in range(0, stop, step):
                    frame = self._read(file, wanted, start, min(start + step, stop))
                    yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(batches, schema=schema)

    def _opened(self, path: Path) -> h5py.File:
        try:
            return h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{self.path}: not readable as HDF5 ({error}). Get the file again.") from error

    def _look(self, file: h5py.File) -> tuple[dict[str, _Column], int]:
        """The columns and how many rows they have."""
        try:
            found = self._named(file)
            columns, datasets = self._of_group(found) if isinstance(found, h5py.Group) else (self._of_dataset(found), [found])
        except (KeyError, RuntimeError, OSError) as error:
            raise DataError(f"{self.path}: not readable as HDF5 ({error}). Get the file again.") from error
        files.check_width(self.path, len(columns))
        lengths = {dataset.name: len(dataset) for dataset in datasets}
        if len(set(lengths.values())) > 1:
            shown = listed(f"{name}: {length:,}" for name, length in lengths.items())
            raise DataError(
                f"{self.path}: the columns have different lengths ({shown}). Name a group whose datasets belong together."
            )
        num_rows = next(iter(lengths.values()), 0)
        if not columns or not num_rows:
            raise DataError(f"{self.path}: {self.dataset} holds no rows. Name another one with `dataset`.")
        return columns, num_rows

    def _named(self, file: h5py.File) -> h5py.Group | h5py.Dataset:
        """What `dataset` names, without following a link into another file."""
        found: Any = file
        for name in [part for part in self.dataset.split("/") if part]:
            if not isinstance(found, h5py.Group) or found.get(name, getlink=True) is None:
                names = list(found) if isinstance(found, h5py.Group) else []
                raise DataError(
                    f'{self.path}: no "{self.dataset}" (`dataset`), {found.name} holds {listed(names) or "rows"}.'
                    f"{near_miss(name, names)} Name one of them."
                )
            _check_link(found, name, self.path)
            found = found[name]
        return found

    def _of_group(self, group: h5py.Group) -> tuple[dict[str, _Column], list[h5py.Dataset]]:
        """The datasets of one axis; where there are none, the only table or matrix."""
        if "pandas_type" in group.attrs:
            raise DataError(
                f"{self.path}: {group.name} was written by pandas, which keeps names and dates apart from the cells. Write it with "
                "`to_parquet`, or by column."
            )
        files.check_width(self.path, len(group))
        datasets: list[h5py.Dataset] = []
        others: list[Any] = []
        for name in group:
            _check_link(group, name, self.path)
            item = group[name]
            is_column = isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.names is None and _is_plain(item.dtype)
            (datasets if is_column else others).append(item)
        tables = [item for item in others if isinstance(item, h5py.Dataset) and item.ndim in (1, 2)]
        if not datasets and len(tables) == 1:
            return self._of_dataset(tables[0]), tables
        if not datasets:
            hint = f"Name one of {listed(item.name for item in others)}" if others else "Name another file"
            raise DataError(
                f"{self.path}: {group.name} holds no datasets of one axis, so there are no columns. {hint} (`dataset`)."
            )
        if others:
            self.notes.append(f"{self.path}: left out what is no column ({listed(item.name for item in others)}).")
        for item in datasets:
            self._check(item)
        return {item.name.rpartition("/")[2]: _Column(item.name, item.dtype) for item in datasets}, datasets

    def _of_dataset(self, dataset: h5py.Dataset) -> dict[str, _Column]:
        self._check(dataset)
        if dataset.dtype.names is not None and dataset.ndim == 1:
            return self._of_compound(dataset)
        if not _is_plain(dataset.dtype) or dataset.ndim not in (1, 2):
            raise DataError(
                f"{self.path}: {dataset.name} has {dataset.ndim} axes of {dataset.dtype}, one or two of numbers or text are needed."
            )
        if dataset.ndim == 1:
            return {dataset.name.rpartition("/")[2]: _Column(dataset.name, dataset.dtype)}
        names = self._matrix_names(dataset)
        return {name: _Column(dataset.name, dataset.dtype, index=index) for index, name in enumerate(names)}

    def _of_compound(self, dataset: h5py.Dataset) -> dict[str, _Column]:
        """Fields; an array in a field gives one column per element."""
        columns: dict[str, _Column] = {}
        for field in dataset.dtype.names:
            dtype = dataset.dtype[field]
            base, shape = dtype.subdtype or (dtype, ())
            if not _is_plain(base) or len(shape) > 1:
                self.notes.append(f"{self.path}: left out the field {field} ({dtype}), which is no column.")
            elif shape:
                columns |= {f"{field}.{index}": _Column(dataset.name, base, field, index) for index in range(shape[0])}
            else:
                columns[field] = _Column(dataset.name, base, field)
        return columns

    def _matrix_names(self, dataset: h5py.Dataset) -> list[str]:
        width = dataset.shape[1]
        files.check_width(self.path, width)
        kept = next((dataset.attrs[name] for name in _NAMES if name in dataset.attrs), None)
        names = self.columns
        if names is None and kept is not None and np.size(kept) == width:
            names = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in np.ravel(kept).tolist()]
        if names is None:
            self.notes.append(f"{self.path}: no column names, they are column_1 to column_{width}. Give `columns` to name them.")
            return [f"column_{index}" for index in range(1, width + 1)]
        if len(names) != width or len(set(names)) != width:
            raise DataError(
                f"{self.path}: `columns` has {len(set(names))} different names, {dataset.name} has {width} columns. Name each once."
            )
        return list(names)

    def _check(self, dataset: h5py.Dataset) -> None:
        """Errors: DataError where the rows lie in other files, or there are far more of them than bytes."""
        if dataset.external or dataset.is_virtual:
            raise DataError(
                f"{self.path}: {dataset.name} keeps its rows in other files, which are not followed. Copy them into this file."
            )
        claimed, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if claimed > max(files.FREE_BYTES, stored * files.MAX_RATIO):
            raise DataError(
                f"{self.path}: {dataset.name} claims {claimed:,} bytes and stores {stored:,}, more than {files.MAX_RATIO} to one. "
                "Get the file again, or write the rows that there are."
            )

    def _read(self, file: h5py.File, wanted: dict[str, _Column], start: int, stop: int) -> pl.DataFrame:
        """Rows of the wanted columns; a dataset that gives several is read once."""
        blocks: dict[str, np.ndarray] = {}
        columns = []
        try:
            for name, column in wanted.items():
                if column.dataset not in blocks:
                    blocks[column.dataset] = file[column.dataset][start:stop]
                block = blocks[column.dataset]
                cells = block if column.field is None else block[column.field]
                cells = cells if column.index is None else cells[:, column.index]
                columns.append(_series(name, _named_codes(cells, column.dtype), self.path))
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{self.path}: damaged in rows {start:,} to {stop:,} ({error}). Get the file again.") from error
        return pl.DataFrame(columns)


def _check_link(group: h5py.Group, name: str, where: str) -> None:
    """Errors: DataError for a link into another file, or one that leads nowhere."""
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise DataError(f"{where}: {group.name} links {name} into another file, which is not followed. Copy it into this file.")
    if group.get(name) is None:
        raise DataError(f"{where}: {name} in {group.name} is a link that leads nowhere. Mend the file, or name another `dataset`.")


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Whether cells are numbers, booleans or text."""
    return dtype.kind in "biufS" or h5py.check_string_dtype(dtype) is not None


def _named_codes(cells: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The words of an enumeration in place of its codes."""
    words = h5py.check_enum_dtype(dtype)
    if words is None:
        return cells
    by_code = {code: word for word, code in words.items()}
    return np.array([by_code.get(code) for code in cells.tolist()], dtype=object)


def _series(name: str, cells: np.ndarray, where: str) -> pl.Series:
    if cells.dtype.kind in "OS" or h5py.check_enum_dtype(cells.dtype) is not None:
        try:
            texts = [cell.decode() if isinstance(cell, bytes) else cell for cell in cells.tolist()]
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: {name} holds text that is not UTF-8. Write it as UTF-8.") from error
        return pl.Series(name, texts, dtype=pl.String)
    if cells.dtype.kind == "f" and cells.dtype.itemsize not in (4, 8):
        cells = cells.astype(np.float32 if cells.dtype.itemsize == 2 else np.float64)
    return pl.Series(name, np.ascontiguousarray(cells.astype(cells.dtype.newbyteorder("="), copy=False)))


def _step(file: h5py.File, columns: Any) -> int:
    """Rows to read at once: some megabytes, whole chunks of the file where it has them."""
    datasets = {column.dataset for column in columns}
    if not datasets:
        return 1 << 16
    row_bytes = sum(_row_bytes(file[name]) for name in datasets)
    step = max(1, _BATCH_BYTES // max(1, row_bytes))
    chunk = max((file[name].chunks[0] for name in datasets if file[name].chunks), default=1)
    return max(1, step // chunk) * chunk if chunk * row_bytes <= 4 * _BATCH_BYTES else step


def _row_bytes(dataset: h5py.Dataset) -> int:
    """Bytes of a row in memory; a text of any length counts as 64."""
    width = int(np.prod(dataset.shape[1:], dtype=np.int64))
    return width * (64 if dataset.dtype.kind == "O" else dataset.dtype.itemsize)
