"""Text files in class folders: on disk, in a zip or a tar. Finds them with lode/data/formats/archives.py."""

from __future__ import annotations

import polars as pl

from lode.core.errors import DataError, listed
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import archives, file_rows, files
from lode.data.place import Place

_BOM = b"\xef\xbb\xbf"


class Text(Source):
    """Text files with a label each: `<class>/<text>` in a folder, .zip or .tar(.gz, .xz). One file is one row.

    Columns: the text, its label (the folder that it lies in; null where it lies in none) and `path`. Texts must be UTF-8; those that
    are not, and those that hold NUL bytes, are left out, counted and named. All files are read once before the first row is given.

    Args:
        path: folder or archive, relative to lode.yaml or to `--data DIR`.
        suffixes: endings of the files that are texts.
        split: take only what lies under the folder of this name (archives with `train/<class>/...` and `test/<class>/...`).
        name: name of the column of texts.
        label: name of the column of labels.
        label_pattern: a regular expression whose first group is the label in a text's path, in place of its folder.
        sha256: the expected sha256 of the archive at `path`; checked before it is read.
        origin: where the texts come from; repeated in the error when they are missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        suffixes: list[str] = (".txt",),  # type: ignore[assignment]
        split: str | None = None,
        name: str = "text",
        label: str = "label",
        label_pattern: str | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.suffixes, self.split, self.name, self.label = place, path, tuple(suffixes), split, name, label
        self.label_pattern, self.sha256, self.origin = label_pattern, sha256, origin
        self.notes: list[str] = []
        self._rows: pl.LazyFrame | None = None

    def fingerprint(self) -> str:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        return archives.folder_fingerprint(path, self._is_text) if path.is_dir() else files.sha256_of(path)

    def scan(self) -> pl.LazyFrame:
        if self._rows is None:
            self._rows = self._found()
        return self._rows

    def _is_text(self, name: str) -> bool:
        return name.lower().endswith(tuple(suffix.lower() for suffix in self.suffixes))

    def _found(self) -> pl.LazyFrame:
        """Find the texts, and read each once to leave out what is none."""
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if not path.is_dir():
            files.find(self.place, self.path, self.sha256, self.origin)
        archive = archives.open_archive(path, self._is_text)
        self.notes[:] = archive.skipped.notes(self.path, f"texts ({listed(self.suffixes)})")
        if not archive.names:
            raise DataError(
                f"{self.path}: no texts ({listed(self.suffixes)}) in it. Name the folder that holds them, or their `suffixes`."
            )
        names = file_rows.under(archive.names, self.split, self.path)
        self.num_bytes = 0 if path.is_dir() else path.stat().st_size
        broken = []
        for name in names:
            data = archive.read(name)
            self.num_bytes += len(data) if path.is_dir() else 0
            if not _is_readable(data):
                broken.append(name)
        if broken:
            self.notes.append(
                f"{self.path}: {len(broken):,} of {len(names):,} texts are not UTF-8 and were left out ({archives.shown(broken)}). "
                "Save them as UTF-8 to keep them."
            )
        gone = set(broken)
        good = [name for name in names if name not in gone]
        if not good:
            raise DataError(f"{self.path}: none of {len(names):,} texts is UTF-8 ({archives.shown(broken)}). Save them as UTF-8.")
        table = file_rows.labelled(good, self.label, self.split, self.label_pattern, self.path)
        return file_rows.with_contents(archive, table, self.name, pl.String(), _decoded)


def _is_readable(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(data: bytes) -> str:
    return data.removeprefix(_BOM).decode()
