"""Bytes of files, compressed or not, in bounded memory; hashes of them; what no file may do. Shared by the sources that read files.

Read lode/data/formats/archives.py next: files in folders, zips and tars.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from lode.core.errors import DataError
from lode.data.place import Place

CHUNK_BYTES = 1 << 18
"""Small enough to stay in the processor's cache while it is looked at."""

MAX_LINE_BYTES = 1 << 26
"""A longer line is no row of a table: it would be held in memory whole, several times."""

MAX_COLUMNS = 1 << 15
"""Twice what a spreadsheet holds, and more than there are genes; every column costs time in every step."""

MAX_DIGITS = 38
"""Of a decimal: what fits 128 bits."""

MAX_RATIO = 200
FREE_BYTES = 1 << 30
"""A compressed file may unpack to so many times its size, or to `FREE_BYTES`, whichever is more; what does not is made to fill disks."""

_MAX_READ_BYTES = 1 << 30
_LONGEST_MARK = 8
"""Bytes of what `check_lines` looks for."""


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(place: Place, path: str, sha256: str | None, origin: str | None) -> Path:
    """The file that `path` names, not empty.

    Errors: DataError where it is missing, a folder, empty, or not the file whose sha256 is expected.
    """
    found = place.resolve(path, sha256, origin)
    if found.is_dir():
        raise DataError(f"{found}: found a folder, a file is needed. Name the file in it.")
    if not found.is_file():
        raise DataError(f"{found}: found a device or a pipe, a file is needed. Copy what it gives into a file.")
    if found.stat().st_size == 0:
        raise DataError(f"{found}: the file is empty. Get it again, or name another one.")
    if not os.access(found, os.R_OK):
        raise DataError(f"{found}: found a file that you may not read. Change its permissions, or name another one.")
    if sha256 is not None:
        check_sha256(found, sha256_of(found), sha256, origin)
    return found


def check_sha256(path: Path, found: str, expected: str, origin: str | None) -> None:
    """Errors: DataError where a file is not the one that is expected."""
    if found != expected.lower():
        source = f" from {origin}" if origin else ""
        raise DataError(
            f"{path}: found sha256 {found}, expected {expected}. Get the file{source} again, "
            "or change `sha256` if another one is meant."
        )


def check_width(where: str, num_columns: int) -> None:
    """Errors: DataError where a table is wider than can be worked with."""
    if num_columns > MAX_COLUMNS:
        raise DataError(
            f"{where}: found {num_columns:,} columns, at most {MAX_COLUMNS:,} are allowed. Keep those that are needed, or turn "
            "the table round if its columns are records."
        )


def check_types(where: str, schema: pl.Schema) -> None:
    """Errors: DataError for a column of a typed file that polars knows and cannot read."""
    for name, dtype in schema.items():
        if isinstance(dtype, pl.Decimal) and (dtype.precision or 0) > MAX_DIGITS:
            raise DataError(
                f'{where}: column "{name}" holds decimals of {dtype.precision} digits, at most {MAX_DIGITS} are allowed. Write it as '
                "64-bit numbers or as text."
            )


def check_lines(path: Path, where: str, *marks: str) -> frozenset[str]:
    """Look for bytes and lines that no text table has, before a parser takes the file into its hands: some gigabytes a second.

    Gives those of the marks (a quote) that stand in the file.
    Errors: DataError where a line is longer than `MAX_LINE_BYTES` or holds a NUL byte, or the file unpacks to far more than it is.
    """
    num_open = position = 0
    sought, found, tail = {mark.encode(): mark for mark in marks if mark}, set(), b""
    for chunk in byte_chunks(path):
        first = chunk.find(b"\n")
        num_open += len(chunk) if first < 0 else first
        if num_open > MAX_LINE_BYTES:
            raise too_long(where, _line_of(path, position))
        if first >= 0:
            num_open = len(chunk) - chunk.rfind(b"\n") - 1
        if b"\0" in chunk:
            raise holds_nul(where, _line_of(path, position + chunk.index(b"\0")))
        # One byte is found many times faster than several, and the last one of several is in few files.
        for mark in [mark for mark in sought if (mark[-1:] in chunk and mark in chunk) or mark in tail + chunk[: len(mark)]]:
            found.add(sought.pop(mark))
        tail = (tail + chunk[-_LONGEST_MARK:])[-_LONGEST_MARK:]
        position += len(chunk)
    return frozenset(found)


def _line_of(path: Path, position: int) -> int:
    """The line in which a byte stands, from 1."""
    num_lines = 1
    for chunk in byte_chunks(path):
        num_lines += chunk.count(b"\n", 0, max(0, position))
        position -= len(chunk)
        if position <= 0:
            break
    return num_lines


def too_long(where: str, line: int) -> DataError:
    """The error for a line that would have to be held in memory whole."""
    return DataError(
        f"{where}: line {line:,} is longer than {MAX_LINE_BYTES >> 20} MiB. Check that the file is a table with one row a line."
    )


def holds_nul(where: str, line: int) -> DataError:
    """The error for a file that is no text."""
    return DataError(
        f"{where}: line {line:,} holds a NUL byte, so the file is no text, or not UTF-8 (UTF-16?). Save it as UTF-8, or get it again."
    )


def is_compressed(path: Path) -> bool:
    """Whether the name says gzip or Zstandard."""
    return path.suffix.lower() in (".gz", ".zst")


def byte_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, a few hundred kilobytes at a time.

    Errors: DataError where a compressed file is damaged, cut short, or unpacks to far more than it is.
    """
    if path.suffix.lower() == ".zst":
        yield from _zstandard_chunks(path)
        return
    with Unpacked(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class Unpacked:
    """A file open for reading, decompressed by its name (.gz, .xz): forwards only where it is compressed, and never without bounds.

    Errors (of every method): DataError where the compression is damaged or cut short, or unpacks to far more than the file is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_bytes(path)
        self._is_packed = path.suffix.lower() in (".gz", ".tgz", ".xz", ".txz")
        self._allowed_bytes = max(FREE_BYTES, path.stat().st_size * MAX_RATIO)

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tell(self) -> int:
        """Bytes before the next one."""
        return self._file.tell()

    def read(self, num_bytes: int) -> bytes:
        """At most so many bytes; none at the end."""
        if num_bytes > _MAX_READ_BYTES:
            raise DataError(f"{self.path}: one part of it claims {num_bytes:,} bytes. The file is damaged; get it again.")
        data = read(self._file, num_bytes, self.path)
        if self._is_packed and self._file.tell() > self._allowed_bytes:
            raise DataError(
                f"{self.path}: unpacks to more than {max(FREE_BYTES >> 20, 1):,} MiB and {MAX_RATIO} times its size. "
                "If it is what it should be, unpack it yourself and name what comes out."
            )
        return data

    def seek(self, position: int) -> int:
        """Go on at a byte, at or after the next one where the file is compressed."""
        if not self._is_packed:
            return self._file.seek(position)
        while (missing := position - self.tell()) > 0 and self.read(min(missing, CHUNK_BYTES)):
            pass
        return self.tell()


def open_bytes(path: Path) -> BinaryIO:
    """A file open for reading, decompressed by its name (.gz, .xz); `Unpacked` reads it in bounds."""
    suffix = path.suffix.lower()
    if suffix in (".gz", ".tgz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix in (".xz", ".txz"):
        return cast(BinaryIO, lzma.open(path, "rb"))
    return path.open("rb")


def read(file: BinaryIO, num_bytes: int, path: Path) -> bytes:
    """At most so many bytes of an open file.

    Errors: DataError where its compression is damaged or cut short.
    """
    try:
        return file.read(num_bytes)
    except EOFError as error:
        raise truncated(path) from error
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        if "end-of-stream" in str(error):
            raise truncated(path) from error
        raise DataError(f"{path}: not readable as {path.suffix.lstrip('.')} ({error}). Get the file again.") from error


def truncated(path: Path) -> DataError:
    """The error for a file that ends too early."""
    return DataError(f"{path}: the compressed file is cut short. Get it again.")


def _zstandard_chunks(path: Path) -> Iterator[bytes]:
    # The standard library of Python 3.11 has no Zstandard; polars reads lines of it.
    try:
        for lines in pl.scan_lines(path, name="line").collect_batches():
            yield "".join(f"{line}\n" for line in lines["line"].to_list()).encode()
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{path}: not readable as Zstandard text ({_first_line(error)}). Get the file again.") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
