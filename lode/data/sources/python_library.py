"""The sources of Python's own library, as documents: real text on every machine, without a download."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import polars as pl

from lode.core.errors import DataError, listed
from lode.core.types import ByteSize
from lode.data.contracts import Source
from lode.data.place import Place

_LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "pydoc_data", "encodings", "site-packages", "dist-packages", "__pycache__"}
)
"""Tests, tables and what is not Python's own."""


class PythonLibrary(Source):
    """The .py files of the Python that runs lode, without its tests: about 9 MB, one file is one row.

    Columns: `text`, `path` (within the library) and `package` (its first part: asyncio, json, ...). Another version of Python has other
    texts.

    Args:
        only: modules and packages to take (asyncio, json, argparse); left open, all.
        most: at most so much text: whole files, picked by chance but the same ones every time.
    """

    def __init__(self, place: Place, *, only: list[str] | None = None, most: ByteSize | None = None) -> None:
        self.only, self.most = only, most
        self.folder = Path(sysconfig.get_path("stdlib"))

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, data in self._files():
            digest.update(f"{name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()

    def scan(self) -> pl.LazyFrame:
        found = list(self._files())
        self.num_bytes = sum(len(data) for _, data in found)
        columns = {
            "text": [data.decode() for _, data in found],
            "path": [str(name) for name, _ in found],
            "package": [name.parts[0].removesuffix(".py") for name, _ in found],
        }
        return pl.LazyFrame(columns, schema=dict.fromkeys(columns, pl.String))

    def _files(self) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Paths and contents, sorted by path. Errors: DataError where the library lies elsewhere, or nothing has the names asked for."""
        paths = sorted(PurePosixPath(path.relative_to(self.folder).as_posix()) for path in self.folder.rglob("*.py"))
        paths = [path for path in paths if not _LEFT_OUT & set(path.parts)]
        known = {path.parts[0].removesuffix(".py") for path in paths}
        if not paths:
            raise DataError(
                f"python_library: no .py file in {self.folder}. This Python came without its sources; install another one."
            )
        for name in self.only or ():
            if name not in known:
                raise DataError(f'python_library: only: found "{name}", allowed: {listed(sorted(known))}. Remove it.')
        if self.only is not None:
            paths = [path for path in paths if path.parts[0].removesuffix(".py") in self.only]
        found = [(path, data) for path in paths if _is_text(data := (self.folder / path).read_bytes())]
        yield from found if self.most is None else _picked(found, self.most)


def _is_text(data: bytes) -> bool:
    try:
        return bool(data.decode().strip())
    except UnicodeDecodeError:
        return False


def _picked(found: list[tuple[PurePosixPath, bytes]], most: int) -> list[tuple[PurePosixPath, bytes]]:
    """Whole files up to `most` bytes in all, in an order that their names' hashes give; the first one in any case."""
    kept: list[tuple[PurePosixPath, bytes]] = []
    size = 0
    for path, data in sorted(found, key=lambda item: hashlib.sha256(str(item[0]).encode()).digest()):
        if not kept or size + len(data) <= most:
            kept.append((path, data))
            size += len(data)
    return sorted(kept)
