"""What a file is by its first bytes, where it is not the text that it was named as: told by its name, not by its first odd byte."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from lode.core.errors import DataError
from lode.data.formats import files

_BYTES = (
    (b"PK\x03\x04", "a workbook or a zip", "Name `type: excel` for a workbook, or unpack the zip."),
    (b"\xd0\xcf\x11\xe0", "an old workbook (.xls)", "Name `type: excel`."),
    (b"\x1f\x8b", "packed by gzip", "Let its name end in .gz."),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", "Let its name end in .zst."),
    (b"PAR1\x15", "a Parquet file", "Name `type: parquet`."),
    (b"ARROW1\0", "an Arrow file", "Name `type: arrow`."),
    (b"\x89HDF\r\n", "an HDF5 file", "Name `type: hdf5`."),
    (b"SQLite format 3\0", "an SQLite database", "Name `type: sql`."),
    (b"%PDF-", "a PDF", "Save its table as CSV or as a workbook."),
)
_PAGE = re.compile(rb"<!doctype html|<html[\s>]", re.IGNORECASE)


def check_utf16(path: Path, where: str) -> None:
    """Errors: DataError where a file holds no zero byte, as every comma and line end in UTF-16 does."""
    if b"\0" not in next(files.byte_chunks(path), b"")[:4096]:
        raise DataError(f"{where}: is not written in UTF-16. Leave `encoding` out, or name another one.")


def check(path: Path, where: str, utf16: str) -> None:
    """Errors: DataError where a file begins as no text table does. utf16: what to do about a file in UTF-16."""
    start = next(files.byte_chunks(path), b"")[:4096]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{where}: is written in UTF-16. {utf16}")
    for mark, what, advice in _BYTES:
        if start.startswith(mark):
            raise DataError(f"{where}: is {what}, no text. {advice}")
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    # Where pages are cells, one begins on every line.
    if _PAGE.match(text) and len(re.findall(rb"<html[\s>]", text, re.IGNORECASE)) < 2:
        raise DataError(f"{where}: is a web page, as a server sends in place of a file (an error, or a login). Get the file again.")
