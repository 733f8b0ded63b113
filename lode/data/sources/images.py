"""Pictures in class folders (on disk, in a zip or a tar) or in IDX files. Reads with lode/data/pictures.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import FilePath
from lode.data import files, pictures
from lode.data.contracts import Source
from lode.data.place import Place

_BATCH_ROWS = 1_024
_BATCH_BYTES = 1 << 25


class Images(Source):
    """Pictures with a label each: `<class>/<picture>` in a folder, .zip or .tar(.gz, .xz), or the IDX files of MNIST.

    Columns: the picture's bytes, its label (the folder that it lies in; null where it lies in none) and `path`. Other files are
    skipped and counted. An IDX picture comes as the .npy bytes of a uint8 (H, W) array.

    Args:
        path: folder, archive or IDX images, relative to lode.yaml or to `--data DIR`.
        labels: IDX labels, where `path` names IDX images.
        split: take only what lies under the folder of this name (archives with `train/<class>/...` and `test/<class>/...`).
        name: name of the column of pictures.
        label: name of the column of labels.
        sha256: the expected sha256 of the file at `path`; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        labels: FilePath | None = None,
        split: str | None = None,
        name: str = "image",
        label: str = "label",
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.labels, self.split, self.name, self.label = place, path, labels, split, name, label
        self.sha256, self.origin = sha256, origin
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if path.is_dir():
            return pictures.folder_fingerprint(path)
        if self.labels is None:
            return files.sha256_of(path)
        parts = (files.sha256_of(path), files.sha256_of(self.place.resolve(self.labels)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if not path.is_dir():
            files.find(self.place, self.path, self.sha256, self.origin)
            self.num_bytes = path.stat().st_size
        if self.labels is not None:
            return self._idx()
        self.notes.clear()
        album = pictures.open_album(path)
        names = self._chosen(album.names)
        if album.num_skipped:
            self.notes.append(f"{self.path}: {album.num_skipped:,} files that are no pictures were skipped.")
        if path.is_dir():
            self.num_bytes = sum((path / name).stat().st_size for name in names)
        return self._lazy(album, names)

    def _chosen(self, names: list[str]) -> list[str]:
        """Names under the folder `split`, or all.

        Errors: DataError where nothing is left.
        """
        if not names:
            raise DataError(
                f"{self.path}: no pictures ({', '.join(pictures.SUFFIXES)}) in it. Name the folder that holds the class folders."
            )
        if self.split is None:
            return names
        chosen = [name for name in names if self.split in PurePosixPath(name).parts[:-1]]
        if not chosen:
            folders = sorted({PurePosixPath(name).parts[0] for name in names if "/" in name})
            raise DataError(
                f'{self.path}: no folder "{self.split}" (`split`), found {listed(folders)}.{near_miss(self.split, folders)} '
                "Name one of them."
            )
        return chosen

    def _label(self, name: str) -> str | None:
        folder = PurePosixPath(name).parent.name
        return folder if folder and folder != self.split else None

    def _lazy(self, album: pictures.Album, names: list[str]) -> pl.LazyFrame:
        """Rows in the order of names; bytes are read a few megabytes at a time, and only if the column is asked for."""
        schema = {self.name: pl.Binary(), self.label: pl.String(), "path": pl.String()}

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            wanted = with_columns if with_columns is not None else list(schema)
            for part in _parts(album, names if n_rows is None else names[:n_rows], self.name in wanted):
                columns = {self.name: list(part.values()), self.label: [self._label(name) for name in part], "path": list(part)}
                frame = pl.DataFrame({name: columns[name] for name in wanted}, schema={name: schema[name] for name in wanted})
                yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(batches, schema=schema)

    def _idx(self) -> pl.LazyFrame:
        images_path = files.find(self.place, self.path, self.sha256, self.origin)
        labels_path = files.find(self.place, str(self.labels), None, self.origin)
        images = pictures.read_idx(images_path, num_axes=3)
        labels = pictures.read_idx(labels_path, num_axes=1)
        if len(images) != len(labels):
            raise DataError(
                f"{self.path}: {len(images):,} pictures, but {len(labels):,} labels in {self.labels}. Name files that belong together."
            )
        if not len(images):
            raise DataError(f"{self.path}: the file holds no pictures. Name another one.")
        name = PurePosixPath(self.path).name
        paths = [f"{name}[{index}]" for index in range(len(images))]
        cells = pl.Series(pictures.npy_cells(images), dtype=pl.Binary)
        return pl.LazyFrame({self.name: cells, self.label: pl.Series(labels).cast(pl.String), "path": paths})


def _parts(album: pictures.Album, names: list[str], with_bytes: bool) -> Iterator[dict[str, bytes | None]]:
    """Names with their bytes, a batch at a time."""
    part: dict[str, bytes | None] = {}
    num_bytes = 0
    for name in names:
        data = album.read(name) if with_bytes else None
        part[name] = data
        num_bytes += len(data or b"")
        if len(part) >= _BATCH_ROWS or num_bytes >= _BATCH_BYTES:
            yield part
            part, num_bytes = {}, 0
    if part:
        yield part
