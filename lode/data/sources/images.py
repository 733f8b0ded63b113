"""Pictures in class folders (on disk, in a zip or a tar) or in IDX files. Reads with lode/data/formats/archives.py and
lode/data/formats/pictures.py.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

import polars as pl

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import archives, file_rows, files, pictures
from lode.data.place import Place


class Images(Source):
    """Pictures with a label each: `<class>/<picture>` in a folder, .zip or .tar(.gz, .xz), or the IDX files of MNIST.

    Columns: the picture's bytes, its label (the folder that it lies in; null where it lies in none) and `path`. Other files, links,
    and files too large for a picture are skipped and counted. An IDX picture comes as the .npy bytes of a uint8 (H, W) array.

    Args:
        path: folder, archive or IDX images, relative to lode.yaml or to `--data DIR`.
        labels: IDX labels, where `path` names IDX images.
        split: take only what lies under the folder of this name (archives with `train/<class>/...` and `test/<class>/...`).
        name: name of the column of pictures.
        label: name of the column of labels.
        label_pattern: a regular expression whose first group is the label in a picture's path, in place of its folder.
        sha256: the expected sha256 of the file at `path`; checked before it is read.
        labels_sha256: the expected sha256 of the file at `labels`.
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
        label_pattern: str | None = None,
        sha256: str | None = None,
        labels_sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.labels, self.split, self.name, self.label = place, path, labels, split, name, label
        self.label_pattern, self.sha256, self.labels_sha256, self.origin = label_pattern, sha256, labels_sha256, origin
        self.notes: list[str] = []

    def fingerprint(self) -> str:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if path.is_dir():
            return archives.folder_fingerprint(path, pictures.is_picture)
        if self.labels is None:
            return files.sha256_of(path)
        parts = (files.sha256_of(path), files.sha256_of(self.place.resolve(self.labels, self.labels_sha256, self.origin)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if not path.is_dir():
            files.find(self.place, self.path, self.sha256, self.origin)
            self.num_bytes = path.stat().st_size
        if self.labels is not None:
            return self._idx()
        if not path.is_dir() and not path.name.lower().endswith(archives.ARCHIVES):
            raise DataError(f"{path}: neither a folder nor one of {', '.join(archives.ARCHIVES)}. For IDX files give `labels` too.")
        album = archives.open_archive(path, pictures.is_picture)
        self.notes[:] = album.skipped.notes(self.path, "pictures")
        if not album.names:
            raise DataError(
                f"{self.path}: no pictures ({', '.join(pictures.SUFFIXES)}) in it. Name the folder that holds the class folders."
            )
        names = file_rows.under(album.names, self.split, self.path)
        if path.is_dir():
            self.num_bytes = sum((path / name).stat().st_size for name in names)
        table = file_rows.labelled(names, self.label, self.split, self.label_pattern, self.path)
        return file_rows.with_contents(album, table, self.name, pl.Binary(), bytes)

    def _idx(self) -> pl.LazyFrame:
        images_path = files.find(self.place, self.path, self.sha256, self.origin)
        labels_path = files.find(self.place, str(self.labels), self.labels_sha256, self.origin)
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
