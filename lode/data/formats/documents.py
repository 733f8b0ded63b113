"""Bytes of text files to documents: a whole file, its paragraphs or its lines. What is no text is counted, never guessed.

Used by the source of texts (lode/data/sources/text.py).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from lode.core.errors import DataError
from lode.data.formats import archives, files
from lode.data.mending import markup

Unit = Literal["file", "paragraph", "line"]
_BOM = b"\xef\xbb\xbf"
_PAGES = (".html", ".htm", ".xhtml")
_BORDERS = {"paragraph": re.compile(rb"\n(?:[ \t\r]*\n)+"), "line": re.compile(rb"\n")}
"""They begin with a plain character, which makes looking for them fast; a carriage return before it is cut off later."""
_BLANK_LINES = re.compile(r"\A(?:[ \t\r]*\n)+")
_BLANK_BYTES = b" \t\r\n"
_BATCH_DOCUMENTS = 1 << 14
_BATCH_BYTES = 1 << 25


@dataclass(slots=True)
class Found:
    """What was in the bytes. documents: that can be read. nul, broken: with NUL bytes, and that are not UTF-8; left out."""

    documents: int = 0
    nul: int = 0
    broken: int = 0

    def add(self, other: Found) -> None:
        """Take over the counts of another file."""
        self.documents += other.documents
        self.nul += other.nul
        self.broken += other.broken

    def notes(self, where: str, unit: Unit) -> list[str]:
        """A sentence for the user where anything was left out. Errors: DataError where nothing is left."""
        bad = [f"{count:,} {why}" for count, why in ((self.broken, "are not UTF-8"), (self.nul, "hold NUL bytes")) if count]
        if not self.documents:
            said = f" ({unit}s: {' and '.join(bad)})" if bad else ""
            raise DataError(f"{where}: no text in it{said}. Save it as UTF-8, or name another one.")
        total = self.documents + self.nul + self.broken
        reasons = " and ".join(bad)
        return [f"{where}: of {total:,} {unit}s {reasons}; they were left out. Save them as UTF-8 to keep them."] if bad else []


def is_page(name: str) -> bool:
    """Whether the name says HTML, whose text is taken out."""
    return without_packing(name).endswith(_PAGES)


def without_packing(name: str) -> str:
    """The name in small letters, without an ending that says how it is packed."""
    small = name.lower()
    return small.removesuffix(".gz").removesuffix(".xz").removesuffix(".zst")


def of_bytes(name: str, data: bytes, unit: Unit) -> tuple[list[str], Found]:
    """The documents of one file of an archive or a folder."""
    if name.lower().endswith(".gz"):
        data = _unpacked(name, data)
    found = Found()
    return list(_texts(_cut([data], unit, name), is_page(name), unit, found)), found


def of_file(path: Path, unit: Unit, where: str, found: Found) -> Iterator[list[str]]:
    """The documents of one file, some thousand at a time; in memory no more than that and the longest of them."""
    pieces = _cut(files.byte_chunks(path), unit, where)
    batch: list[str] = []
    chars = 0
    for text in _texts(pieces, is_page(path.name), unit, found):
        batch.append(text)
        chars += len(text)
        if len(batch) >= _BATCH_DOCUMENTS or chars >= _BATCH_BYTES:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _cut(chunks: Iterable[bytes], unit: Unit, where: str) -> Iterator[bytes]:
    """Pieces between borders, each byte looked at once. Errors: DataError for one that is too long to be held in memory."""
    border = _BORDERS.get(unit)
    limit = archives.MAX_FILE_BYTES if border is None else files.MAX_LINE_BYTES
    held: list[bytes] = []  # of the piece that is not over yet, without a border in it
    size = 0
    carry = b""  # line ends behind it, which may become a border
    for chunk in chunks:
        data = carry + chunk
        end = len(data.rstrip(_BLANK_BYTES))
        line_end = data.find(b"\n", end) if border is not None else -1
        body, carry = (data, b"") if line_end < 0 else (data[:line_end], data[line_end:])
        pieces = [body] if border is None else border.split(body)
        for piece in pieces[:-1]:
            yield b"".join([*held, piece])
            held, size = [], 0
        held.append(pieces[-1])
        size += len(pieces[-1])
        if border is not None and border.match(carry):
            yield b"".join(held)
            held, size, carry = [], 0, carry[carry.rfind(b"\n") + 1 :]
        if size + len(carry) > limit:
            raise _too_long(where, unit, limit)
    yield b"".join([*held, carry])


def _too_long(where: str, unit: Unit, limit: int) -> DataError:
    other = "line" if unit == "paragraph" else "paragraph"
    return DataError(
        f"{where}: found a {unit} of more than {limit >> 20} MiB, which would have to be held in memory whole. "
        f"Use documents: {other}, or split it."
    )


def _texts(pieces: Iterable[bytes], page: bool, unit: Unit, found: Found) -> Iterator[str]:
    first = True
    for piece in pieces:
        data = piece.removeprefix(_BOM) if first else piece
        first = False
        if not data.strip(_BLANK_BYTES) and unit != "file":
            continue
        text = _decoded(data, found)
        if text is None:
            continue
        if page:
            text = str(markup.text_of_pages(pl.Series([text]))[0])
        found.documents += 1
        yield text if unit == "file" else _BLANK_LINES.sub("", text).rstrip("\r\n")


def _decoded(data: bytes, found: Found) -> str | None:
    if b"\0" in data:
        found.nul += 1
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        found.broken += 1
        return None


def _unpacked(name: str, data: bytes) -> bytes:
    """A packed file within a folder or an archive, in bounds."""
    engine = zlib.decompressobj(wbits=31)
    try:
        plain = engine.decompress(data, archives.MAX_FILE_BYTES)
    except zlib.error as error:
        raise DataError(f"{name}: not readable as gz ({error}). Get the file again.") from error
    if engine.unconsumed_tail:
        raise DataError(f"{name}: unpacks to more than {archives.MAX_FILE_BYTES >> 20} MiB. Unpack it yourself, and split it.")
    if not engine.eof:
        raise files.truncated(Path(name))
    return plain
