"""Bytes of files, compressed or not, in bounded memory; hashes of them. Shared by the sources that read files."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from lode.core.errors import DataError
from lode.data.place import Place

CHUNK_BYTES = 1 << 18
"""Small enough to stay in the processor's cache while it is looked at."""


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
    if found.stat().st_size == 0:
        raise DataError(f"{found}: the file is empty. Get it again, or name another one.")
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


def is_compressed(path: Path) -> bool:
    """Whether the name says gzip or Zstandard."""
    return path.suffix.lower() in (".gz", ".zst")


def byte_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, a few hundred kilobytes at a time.

    Errors: DataError where a compressed file is damaged or cut short.
    """
    if path.suffix.lower() == ".zst":
        yield from _zstandard_chunks(path)
        return
    with open_bytes(path) as file:
        while chunk := read(file, CHUNK_BYTES, path):
            yield chunk


def open_bytes(path: Path) -> BinaryIO:
    """A file open for reading, decompressed by its name (.gz, .xz)."""
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
