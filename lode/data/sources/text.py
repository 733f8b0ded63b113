"""Text files: one of them, or those in folders, zips and tars; each a document, or cut into paragraphs or lines.

Finding files: lode/data/formats/archives.py; cutting them: lode/data/formats/documents.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import archives, documents, file_rows, files
from lode.data.formats.documents import Found
from lode.data.place import Place

Frames = Callable[[], Iterator[pl.DataFrame]]
_ROWS, _BYTES = 1_024, 1 << 25


class Text(Source):
    """Text files, one row each, or one for each paragraph or line. A single file, packed or not, or a folder, .zip or .tar(.gz, .xz).

    Columns: the text; in folders and archives its label (the folder that it lies in; null where it lies in none); and `path`. Texts must
    be UTF-8; those that are not, and those that hold NUL bytes, are left out, counted and named. Of HTML pages (.html, .htm) the text is
    taken. All files are read once before the first row is given.

    Args:
        path: file, folder or archive, relative to lode.yaml or to `--data DIR`.
        documents: what one row is: a "file", a "paragraph" (between empty lines) or a "line"; empty ones are left out.
        suffixes: endings of the files that are texts, in folders and archives; packed ones (.txt.gz) count too.
        skip: names of folders, in folders and archives, of which nothing is taken (site-packages).
        split: take only what lies under the folder of this name (archives with `train/<class>/...` and `test/<class>/...`).
        name: name of the column of texts.
        label: name of the column of labels.
        label_pattern: a regular expression whose first group is the label in a text's path, in place of its folder.
        sha256: the expected sha256 of the file or archive at `path`; checked before it is read.
        origin: where the texts come from; repeated in the error when they are missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        documents: Literal["file", "paragraph", "line"] = "file",
        suffixes: list[str] = (".txt",),  # type: ignore[assignment]
        skip: list[str] | None = None,
        split: str | None = None,
        name: str = "text",
        label: str = "label",
        label_pattern: str | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.suffixes, self.split, self.name, self.label = place, path, tuple(suffixes), split, name, label
        self.documents, self.skip = documents, frozenset(skip or ())
        self.label_pattern, self.sha256, self.origin = label_pattern, sha256, origin
        self.notes: list[str] = []
        self._rows: pl.LazyFrame | None = None

    def fingerprint(self) -> str:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        return archives.folder_fingerprint(path, self._is_text) if path.is_dir() else files.sha256_of(path)

    def scan(self) -> pl.LazyFrame:
        if self._rows is None:
            path = self.place.resolve(self.path, self.sha256, self.origin)
            if not path.is_dir():
                files.find(self.place, self.path, self.sha256, self.origin)
            packed = path.is_dir() or path.name.lower().endswith(archives.ARCHIVES)
            self._rows = self._of_archive(path) if packed else self._of_file(path)
        return self._rows

    def _is_text(self, name: str) -> bool:
        ends = name.lower().removesuffix(".gz").endswith(tuple(suffix.lower() for suffix in self.suffixes))
        return ends and not (self.skip and self.skip.intersection(PurePosixPath(name).parts[:-1]))

    def _of_file(self, path: Path) -> pl.LazyFrame:
        """One file: read once to count what is no text, then again for the rows."""
        found = Found()
        for _ in documents.of_file(path, self.documents, self.path, found):
            pass
        self.notes[:] = found.notes(self.path, self.documents)
        self.num_bytes = path.stat().st_size

        def frames() -> Iterator[pl.DataFrame]:
            for texts in documents.of_file(path, self.documents, self.path, Found()):
                yield pl.DataFrame([pl.Series(self.name, texts, dtype=pl.String), pl.Series("path", [path.name] * len(texts))])

        return _lazy({self.name: pl.String(), "path": pl.String()}, frames)

    def _of_archive(self, path: Path) -> pl.LazyFrame:
        """Find the texts, and read each once to leave out what is none."""
        archive = archives.open_archive(path, self._is_text)
        self.notes[:] = archive.skipped.notes(self.path, f"texts ({listed(self.suffixes)})")
        if not archive.names:
            raise DataError(
                f"{self.path}: no texts ({listed(self.suffixes)}) in it. Name the folder that holds them, or their `suffixes`."
            )
        names = file_rows.under(archive.names, self.split, self.path)
        self.num_bytes = 0 if path.is_dir() else path.stat().st_size
        good = self._readable(archive, names, path.is_dir())
        table = file_rows.labelled(good, self.label, self.split, self.label_pattern, self.path)

        def frames() -> Iterator[pl.DataFrame]:
            for row, name in enumerate(table["path"]):
                texts, _ = documents.of_bytes(name, archive.read(name), self.documents)
                yield pl.DataFrame([pl.Series(self.name, texts, dtype=pl.String)]).join(table[row : row + 1], how="cross")

        return _lazy({self.name: pl.String(), **table.schema}, frames)

    def _readable(self, archive: archives.Archive, names: list[str], is_folder: bool) -> list[str]:
        """Files that hold a text. Errors: DataError where there is none."""
        found = Found()
        good, broken = [], []
        for name in names:
            data = archive.read(name)
            self.num_bytes += len(data) if is_folder else 0
            _, one = documents.of_bytes(name, data, self.documents)
            found.add(one)
            if one.documents:
                good.append(name)
            elif one.broken or one.nul:
                broken.append(name)
        if not good:
            why = (
                f"none of {len(names):,} texts is UTF-8 ({archives.shown(broken)})"
                if broken
                else f"all of {len(names):,} texts are empty"
            )
            raise DataError(f"{self.path}: {why}. Save them as UTF-8, or name other ones.")
        if self.documents != "file":
            self.notes += found.notes(self.path, self.documents)
        elif broken:
            self.notes.append(
                f"{self.path}: {len(broken):,} of {len(names):,} texts are not UTF-8 and were left out ({archives.shown(broken)}). "
                "Save them as UTF-8 to keep them."
            )
        return good


def _lazy(schema: dict[str, pl.DataType], frames: Frames) -> pl.LazyFrame:
    """Rows that are read when they are asked for, batch by batch."""

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for rows in _gathered(frames()):
            frame = rows if left is None else rows.head(left)
            left = None if left is None else left - frame.height
            frame = frame.select(with_columns) if with_columns is not None else frame
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return register_io_source(batches, schema=schema)


def _gathered(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Small tables put together up to some thousand rows or some megabytes."""
    held: list[pl.DataFrame] = []
    rows = size = 0
    for frame in frames:
        held.append(frame)
        rows += frame.height
        size += int(frame.estimated_size())
        if rows >= _ROWS or size >= _BYTES:
            yield pl.concat(held)
            held, rows, size = [], 0, 0
    if held:
        yield pl.concat(held)
