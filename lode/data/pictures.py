"""Where pictures lie: a folder, a zip or a tar of class folders, or IDX files. Nothing is ever extracted to disk by its name.

Used by lode/data/sources/images.py. A picture is handed on as the bytes that it is; feature `image` decodes it.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import numpy as np

from lode.core.errors import DataError
from lode.data import files

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")
MAX_PICTURE_BYTES = 1 << 28
"""A larger file is no picture to train on; it is skipped."""
_MAX_ARCHIVE_BYTES = 1 << 38
_COPY_BYTES = 1 << 20
_NPY_MAGIC = b"\x93NUMPY"


class Album(ABC):
    """Files by name, sorted, whose bytes can be read one by one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.num_skipped = 0
        """Files that are no pictures."""

    def keep(self, entries: Sequence[tuple[str, int]]) -> None:
        """Take the names of pictures from (name, bytes) pairs; count the rest."""
        good = [name for name, num_bytes in entries if is_picture(name) and num_bytes <= MAX_PICTURE_BYTES]
        self.num_skipped = len(entries) - len(good)
        self.names = sorted(good)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file."""


def is_picture(name: str) -> bool:
    """Whether a name in an archive or folder is a picture's, and a safe and visible one."""
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not path.is_absolute() and not hidden


def open_album(path: Path) -> Album:
    """The pictures of a folder or an archive.

    Errors: DataError where the archive is damaged, or the path is neither.
    """
    if path.is_dir():
        return _Folder(path)
    name = path.name.lower()
    if name.endswith(".zip"):
        return _Zip(path)
    if name.endswith(ARCHIVES):
        return _Tar(path)
    raise DataError(f"{path}: neither a folder nor one of {', '.join(ARCHIVES)}. For IDX files give `labels` too.")


class _Folder(Album):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        found = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        self.keep([(path.relative_to(root).as_posix(), path.stat().st_size) for path in found])

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def fingerprint(self) -> str:
        """sha256 over the sorted names and the sha256 of every file."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name}\0{files.sha256_of(self.root / name)}\n".encode())
        return digest.hexdigest()


def folder_fingerprint(root: Path) -> str:
    """sha256 over the sorted names and contents of a folder's pictures."""
    return _Folder(root).fingerprint()


class _Zip(Album):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"{path}: not readable as zip ({error}). Get the file again.") from error
        entries = [entry for entry in self.archive.infolist() if not entry.is_dir()]
        # The upper half of external_attr holds Unix modes; 0o120000 marks a link.
        plain = [entry for entry in entries if (entry.external_attr >> 16) & 0o170000 != 0o120000]
        self.keep([(entry.filename, entry.file_size) for entry in plain])
        _bound(path, sum(entry.file_size for entry in entries))

    def read(self, name: str) -> bytes:
        try:
            with self.archive.open(name) as file:
                return file.read(MAX_PICTURE_BYTES)
        except (zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"{self.path}: {name} is damaged ({error}). Get the file again.") from error


class _Tar(Album):
    """A tar. A compressed one is unpacked as a whole into a nameless temporary file, so that pictures can be read in any order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.file = self._plain(path)
        try:
            with tarfile.open(fileobj=self.file, mode="r:") as archive:
                members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        except tarfile.TarError as error:
            raise DataError(f"{path}: not readable as tar ({error}). Get the file again.") from error
        self.spans = {name: (member.offset_data, member.size) for name, member in members.items()}
        self.keep([(name, size) for name, (_, size) in self.spans.items()])

    def _plain(self, path: Path) -> BinaryIO:
        if path.suffix.lower() == ".tar":
            return path.open("rb")
        plain = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (open as long as its pictures may be read)
        num_bytes = 0
        with files.open_bytes(path) as packed:
            while chunk := files.read(packed, _COPY_BYTES, path):
                num_bytes += len(chunk)
                _bound(path, num_bytes)
                plain.write(chunk)
        plain.seek(0)
        return plain

    def read(self, name: str) -> bytes:
        offset, size = self.spans[name]
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) < size:
            raise files.truncated(self.path)
        return data


def _bound(path: Path, num_bytes: int) -> None:
    if num_bytes > _MAX_ARCHIVE_BYTES:
        raise DataError(f"{path}: unpacks to more than {_MAX_ARCHIVE_BYTES >> 30} GiB. Split it, or name the folder itself.")


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """uint8 array of an IDX file (.gz or not), the format of MNIST (Y. LeCun's page on MNIST describes it).

    Errors: DataError where it is none, holds another type, or is cut short.
    """
    data = b"".join(files.byte_chunks(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 0x08:
        raise DataError(
            f"{path}: not an IDX file of bytes (it must start with 00 00 08). Name images and labels the right way round."
        )
    if data[3] != num_axes:
        raise DataError(f"{path}: an IDX file with {data[3]} axes, {num_axes} needed. Name images and labels the right way round.")
    shape = tuple(np.frombuffer(data, dtype=">u4", count=num_axes, offset=4).tolist())
    start = 4 + 4 * num_axes
    if len(data) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path}: the header says {shape}, but {len(data) - start:,} bytes follow. Get the file again.")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def npy_cells(pictures: np.ndarray) -> list[bytes]:
    """The .npy bytes of each uint8 (H, W) picture of an array (N, H, W)."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({pictures.shape[1]}, {pictures.shape[2]}), }}"
    length = -(-(10 + len(header) + 1) // 64) * 64
    head = _NPY_MAGIC + b"\x01\x00" + (length - 10).to_bytes(2, "little") + header.ljust(length - 11).encode() + b"\n"
    return [head + picture.tobytes() for picture in pictures]
